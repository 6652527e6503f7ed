"""Image embeddings of a request -> nothing, or InvalidRequest: what would end the engine, or take more memory than it sends."""

import io
import zipfile

import pybase64
import torch
from vllm.multimodal.media import ImageEmbeddingMediaIO

from handler.engine import ImageEmbeds
from handler.errors import InvalidRequest


def check_embeds(embeds: ImageEmbeds, width: int) -> None:
    """A tensor of another width would end the engine's process. Tensors by name are the model's own format: only that each
    can be read is checked."""
    is_single = isinstance(embeds.data, str)
    for data in [embeds.data] if isinstance(embeds.data, str) else embeds.data.values():
        try:
            encoded = pybase64.b64decode(data, validate=True)
            _check_archive(encoded)
            tensor = ImageEmbeddingMediaIO().load_bytes(encoded)
            _check_size(tensor, encoded)
        except Exception as fault:  # whatever torch, numpy or the unpickler raise
            raise InvalidRequest(
                "The image embeddings are not a tensor in the format of torch.save or of numpy.", param=embeds.path
            ) from fault
        if is_single and (tensor.ndim != 2 or tensor.shape[1] != width or not len(tensor)):
            raise InvalidRequest(
                f"The image embeddings have the shape {tuple(tensor.shape)}; the model needs one row of width {width} for "
                "each token of the image.",
                param=embeds.path,
            )


def _check_size(tensor: torch.Tensor, encoded: bytes) -> None:
    """A tensor whose rows are all one row is small until it is used. Raises ValueError."""
    if tensor.numel() * tensor.element_size() > len(encoded):
        raise ValueError("the tensor is larger than what was sent")


def _check_archive(encoded: bytes) -> None:
    """torch.save writes an archive without compression, but torch.load would inflate 300 kB to 300 MB. Raises ValueError."""
    if encoded[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(encoded)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > len(encoded):
                raise ValueError("the archive is larger than what was sent")
