"""A checkpoint whose parts contradict each other is refused before it is loaded, for minutes, to the same end."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from handler.checkpoint.configuration import VISION, complete, text_config
from handler.checkpoint.files import ModelFiles, read_json
from handler.checkpoint.tensors import Tensor
from handler.errors import StartError

_VISION = re.compile(r"vis(ion|ual)|vpm|vit\b|image|img|sam_model|patch_embed", re.IGNORECASE)
_EMBEDDING = re.compile(r"(model\.|language_model\.|text_model\.|thinker\.|llm\.)*embed_tokens\.weight")
_LAYER = re.compile(r"(?P<stack>.*?\blayers)\.(?P<number>\d+)\.(?P<rest>.+)")
_HEAD = re.compile(r"head|output|embed_out")
_WHOLE = ("F64", "F32", "F16", "BF16")  # others may hold several elements in one
_ENOUGH_LAYERS = 3  # to tell the odd one out
_ENOUGH_TENSORS = 5  # for a layer of a transformer

_Layer = Mapping[str, tuple[int, ...]]  # the shapes of its tensors by their names
_Stacks = Mapping[str, Mapping[int, _Layer]]
_Shapes = Mapping[str, Mapping[int, tuple[int, ...]]]  # by the name in a layer, and its number


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
    _check_language(model, config, tensors, stacks)
    if config.get("quantization_config"):
        return  # a recipe may leave single modules of single layers as they are, or give them other bits
    for stack, layers in stacks.items():
        for alike in _kinds(config, stack, layers):
            _check_layers(model, stack, alike)


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
    """The layers by the name of their stack and their number."""
    stacks: dict[str, dict[int, dict[str, tuple[int, ...]]]] = defaultdict(lambda: defaultdict(dict))
    for tensor in tensors:
        if match := _LAYER.fullmatch(tensor.name):
            stacks[match["stack"]][int(match["number"])][match["rest"]] = tensor.shape
    return stacks


def _check_language(model: str, config: Mapping[str, Any], tensors: Sequence[Tensor], stacks: _Stacks) -> None:
    """The language model has all layers, and a head unless the embedding serves as one."""
    text = text_config(config)
    depth, tied = text.get("num_hidden_layers"), text.get("tie_word_embeddings")
    embedding = next((tensor.name for tensor in tensors if _EMBEDDING.fullmatch(tensor.name)), None)
    if embedding is None:
        return
    stack = embedding.replace("embed_tokens.weight", "layers")
    found = len(stacks.get(stack, ()))
    if isinstance(depth, int) and 0 < found < depth:
        raise StartError(
            f"{model} has {found} layers in {stack}, and its config.json says {depth} (num_hidden_layers); upload all "
            "files of the model."
        )
    untied = tied is False and not complete(config).get("tie_word_embeddings")
    if untied and not any(_HEAD.search(tensor.name) for tensor in tensors):
        raise StartError(
            f"{model} has no tensor lm_head.weight, and its config.json says that the embedding does not serve as one "
            "(tie_word_embeddings); upload all files of the model."
        )


def _kinds(config: Mapping[str, Any], stack: str, layers: Mapping[int, _Layer]) -> Iterable[Mapping[int, _Layer]]:
    """The layers by their kind, where config.json has several: sliding ones may have other tensors than full ones."""
    named = () if _VISION.search(stack) else text_config(config).get("layer_types") or ()
    kinds: dict[str, dict[int, _Layer]] = defaultdict(dict)
    for number, layer in layers.items():
        kinds[named[number] if number < len(named) else ""][number] = layer
    return kinds.values()


def _check_layers(model: str, stack: str, layers: Mapping[int, _Layer]) -> None:
    """One layer of a stack is not like the others: it lacks a tensor and has nothing in its place, or a single tensor of it
    has a shape of its own. vLLM would load some of these, and answer nonsense.

    A few tensors in each are a small network of some kind; its layers need not be alike.
    """
    if len(layers) < _ENOUGH_LAYERS or min(map(len, layers.values())) < _ENOUGH_TENSORS:
        return
    shapes: dict[str, dict[int, tuple[int, ...]]] = defaultdict(dict)
    for number, layer in layers.items():
        for name, shape in layer.items():
            shapes[name][number] = shape
    _check_names(model, stack, layers.keys(), shapes)
    _check_shapes(model, stack, layers.keys(), shapes)


def _check_names(model: str, stack: str, numbers: Collection[int], shapes: _Shapes) -> None:
    # A layer that has something of its own is another kind of layer; so may the first be, which some encoders do not normalise.
    replaced = {min(numbers), *(number for own in shapes.values() if len(own) == 1 for number in own)}
    if _VISION.search(stack):
        replaced.add(max(numbers))  # in several towers the last layer has less than the others on purpose
    for name, own in shapes.items():
        lacking = set(numbers) - own.keys() - replaced
        if len(own) == len(numbers) - 1 and lacking:
            raise StartError(
                f"{model} has no tensor {stack}.{lacking.pop()}.{name}, which all other layers there have; upload all files of "
                "the model again."
            )


def _check_shapes(model: str, stack: str, numbers: Collection[int], shapes: _Shapes) -> None:
    odd: dict[int, list[str]] = defaultdict(list)
    for name, own in shapes.items():
        counts = Counter(own.values()).most_common()
        if len(own) == len(numbers) and [count for _, count in counts] == [len(numbers) - 1, 1]:
            odd[next(number for number, shape in own.items() if shape == counts[1][0])].append(name)
    for number, names in odd.items():
        # A layer that is narrower on purpose has several such tensors, and the first and the last have their own purposes.
        if len(names) == 1 and number not in (min(numbers), max(numbers)):
            others = next(shape for other, shape in shapes[names[0]].items() if other != number)
            raise StartError(
                f"{model}: the tensor {stack}.{number}.{names[0]} is {list(shapes[names[0]][number])}, in all other layers it is "
                f"{list(others)}; upload all files of the model again."
            )
