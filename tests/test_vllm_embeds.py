import base64
import io
import re
import zipfile

import numpy as np
import pytest
import torch

from handler.engine import ImageEmbeds
from handler.engines.vllm.embeds import check_embeds
from handler.engines.vllm.launch import ENVIRONMENT
from handler.errors import InvalidRequest

WIDTH = 64
LIMIT = "VLLM_MAX_EMBED_DECODE_BYTES"


def embeds(data: bytes) -> ImageEmbeds:
    return ImageEmbeds(base64.b64encode(data).decode(), "messages[0].content[0].image_embeds")


def saved(tensor: torch.Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(tensor, file)
    return file.getvalue()


def deflated(archive: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return file.getvalue()


def test_tensors_of_torch_and_numpy_pass():
    check_embeds(embeds(saved(torch.zeros(9, WIDTH))), WIDTH)
    file = io.BytesIO()
    np.save(file, np.zeros((9, WIDTH), np.float32))
    check_embeds(embeds(file.getvalue()), WIDTH)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK no archive",
        deflated(saved(torch.zeros(1_000_000, WIDTH))),
        saved(
            torch.sparse_coo_tensor(
                torch.tensor([[0], [0]]), torch.tensor([1.0]), (2_000_000, WIDTH), check_invariants=True
            )
        ),
    ],
    ids=["nothing", "no archive", "compressed", "sparse"],
)
def test_what_is_no_tensor_or_grows_when_it_is_loaded_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(LIMIT, ENVIRONMENT[LIMIT])
    with pytest.raises(InvalidRequest, match="not a tensor") as caught:
        check_embeds(embeds(data), WIDTH)
    assert caught.value.param == "messages[0].content[0].image_embeds"


@pytest.mark.parametrize("shape", [(9, 32), (0, WIDTH), (1, 9, WIDTH), (WIDTH,)])
def test_another_shape_is_refused(shape):
    with pytest.raises(InvalidRequest, match=re.escape(f"{shape}; the model needs one row of width {WIDTH}")):
        check_embeds(embeds(saved(torch.zeros(shape))), WIDTH)


def test_rows_that_are_one_row_are_refused():
    with pytest.raises(InvalidRequest, match="not a tensor"):
        check_embeds(embeds(saved(torch.zeros(1, WIDTH).expand(40_000, WIDTH))), WIDTH)
