"""A checkpoint whose parts contradict each other is refused before it is loaded, for minutes, to the same end."""

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from handler.checkpoint.configuration import VISION, text_config
from handler.checkpoint.files import ModelFiles, read_json
from handler.checkpoint.tensors import Tensor
from handler.errors import StartError

_VISION = re.compile(r"vis(ion|ual)|vpm|vit\b|image|img|sam_model|patch_embed", re.IGNORECASE)
_EMBEDDING = re.compile(r"(model\.|language_model\.|text_model\.|thinker\.|llm\.)*embed_tokens\.weight")
_LAYER = re.compile(r"(?P<stack>.*?\blayers)\.(?P<number>\d+)\.(?P<rest>.+)")
_WHOLE = ("F64", "F32", "F16", "BF16")  # others may hold several elements in one
_ENOUGH_LAYERS = 3  # to tell the odd one out

_Stacks = Mapping[str, Mapping[int, set[str]]]


def check_tensors(model: str, config: Mapping[str, Any], tensors: Sequence[Tensor]) -> None:
    """Raises StartError where the tensors are not those of the configuration. Nothing is said of what cannot be known."""
    if not tensors:
        return
    if any(config.get(name) for name in VISION) and not any(_VISION.search(tensor.name) for tensor in tensors):
        raise StartError(
            f"{model} has no tensor of a vision tower, though its config.json has a vision_config; upload all files of the "
            "model, or set OPTION_LANGUAGE_MODEL_ONLY=true to serve text alone."
        )
    _check_embedding(model, config, tensors)
    stacks = _stacks(tensors)
    _check_depth(model, config, tensors, stacks)
    for stack, layers in stacks.items():
        _check_layers(model, stack, layers)


def check_placeholder(files: ModelFiles, config: Mapping[str, Any]) -> None:
    """Raises StartError if the tokenizer lacks the token that stands for an image in a prompt."""
    wanted = next((config[name] for name in ("image_token_id", "image_token_index") if config.get(name)), None)
    if not isinstance(wanted, int) or wanted < 0 or str(wanted) in _added_before_transformers_5(files):
        return
    tokenizer = read_json(files, "tokenizer.json")
    vocabulary = tokenizer.get("model", {}).get("vocab", ())
    if not tokenizer or not vocabulary:
        return
    # Most tokenizers map a text to its number; unigrams are a list, in the order of their numbers.
    known = len(vocabulary) > wanted if isinstance(vocabulary, list) else wanted in set(vocabulary.values())
    if not known and wanted not in {token.get("id") for token in tokenizer.get("added_tokens", ())}:
        raise StartError(
            f"The tokenizer of {files.name} has no token {wanted}, which its config.json says stands for an image "
            "(image_token_id): no prompt could hold an image. Upload the tokenizer.json that belongs to this config.json."
        )


def _added_before_transformers_5(files: ModelFiles) -> Mapping[str, Any]:
    added: Mapping[str, Any] = read_json(files, "tokenizer_config.json").get("added_tokens_decoder", {})
    return added


def _check_embedding(model: str, config: Mapping[str, Any], tensors: Sequence[Tensor]) -> None:
    width = text_config(config).get("hidden_size")
    matrices = [each for each in tensors if each.dtype in _WHOLE and _EMBEDDING.fullmatch(each.name)]
    for tensor in matrices:
        if isinstance(width, int) and tensor.shape[1:] != (width,):
            raise StartError(
                f"{model}: the tensor {tensor.name} is {list(tensor.shape)}, but config.json says that the language "
                f"model is {width} wide (hidden_size); upload the config.json that belongs to these weights."
            )


def _stacks(tensors: Sequence[Tensor]) -> _Stacks:
    """By stack of layers and number, the names of the tensors of a layer."""
    stacks: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for tensor in tensors:
        if match := _LAYER.fullmatch(tensor.name):
            stacks[match["stack"]][int(match["number"])].add(match["rest"])
    return stacks


def _check_depth(model: str, config: Mapping[str, Any], tensors: Sequence[Tensor], stacks: _Stacks) -> None:
    depth = text_config(config).get("num_hidden_layers")
    for tensor in tensors:
        stack = tensor.name.replace("embed_tokens.weight", "layers")
        if _EMBEDDING.fullmatch(tensor.name) and stack in stacks and isinstance(depth, int):
            found = max(stacks[stack]) + 1
            if found < depth:
                raise StartError(
                    f"{model} has {found} layers in {stack}, and its config.json says {depth} (num_hidden_layers); upload all "
                    "files of the model."
                )


def _check_layers(model: str, stack: str, layers: Mapping[int, set[str]]) -> None:
    """A tensor that all layers but one have is missing there, if that one has nothing in its place.

    The last layer is left out: in several towers it has less than the others on purpose.
    """
    for number in range(max(layers)):
        others = [names for other, names in layers.items() if other != number]
        own = layers.get(number, set())
        missing = sorted(set.intersection(*others) - own)
        if missing and len(others) >= _ENOUGH_LAYERS - 1 and own.issubset(itertools.chain(*others)):
            name = f"{stack}.{number}.{missing[0]}" if own else f"{stack}.{number}"
            raise StartError(
                f"{model} has no tensor {name}, which all other layers there have; upload all files of the model again."
            )
