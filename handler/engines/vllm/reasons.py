"""An exception of a start -> a sentence for the operator, in the words of our options. Importing this does not import vllm."""

import re
import traceback

import pydantic

# What vLLM raises where the cause is in the log of another process.
_POINTER = re.compile(r"[Ss]ee root cause above|[Ss]ee stack trace|check the logs", re.DOTALL)
_OPAQUE = (KeyError, AttributeError, IndexError, NotImplementedError, AssertionError)  # their messages need their names
_MAX_CHARACTERS = 1000

_PACKAGE = (
    r"The Python package \g<package> is not in the image, and this model needs it; build an image FROM this one with "
    r"`pip install \g<package>`."
)
# What takes the place of a message; the first pattern that matches decides.
_SENTENCES = (
    (
        re.compile(r"Unknown quantization method: (?P<method>[\w-]+)"),
        (
            r"This vLLM cannot read weights quantised by \g<method>. Use the checkpoint that is not quantised, or its AWQ, GPTQ, "
            r"FP8 or compressed-tensors form."
        ),
    ),
    (
        re.compile(r"model type `(?P<type>[^`]+)`.*does not recognize this architecture", re.DOTALL),
        (
            r"The transformers of this image does not know the model type \g<type>. Use an image with newer packages; if the model "
            r"comes with code of its own and you trust its authors, set OPTION_TRUST_REMOTE_CODE=true."
        ),
    ),
    (
        re.compile(r"trust[_-]remote[_-]code"),
        (
            "The model comes with code of its own, which is executed only if you trust its authors: set "
            "OPTION_TRUST_REMOTE_CODE=true, or choose a model that needs none."
        ),
    ),
    (re.compile(r"No module named '(?P<package>[\w-]+)"), _PACKAGE),
    (re.compile(r"not found in your environment: (?P<package>[\w-]+(?:, [\w-]+)*)"), _PACKAGE),
    (re.compile(r"requires the (?P<package>[\w-]+) library but it was not found"), _PACKAGE),
    (re.compile(r"[Pp]lease install (?P<package>vllm\[\w+\])"), _PACKAGE),
)
# What is added to a message.
_CURES = (
    (
        re.compile(r"float32 is not supported for quantization method"),
        "Set OPTION_DTYPE=bf16 or fp16.",
    ),
    (
        re.compile(r"Failed to find a kernel that can implement"),
        "Quantised weights of this kind need another CPU or a GPU.",
    ),
    (
        re.compile(r"divisible by tensor parallel size"),
        "Set OPTION_TENSOR_PARALLEL_DEGREE, which otherwise is the number of GPUs, to a divisor of it.",
    ),
    (
        re.compile(r"Config' object has no attribute '"),
        "A field is missing in config.json; upload the one that belongs to the model.",
    ),
    (
        re.compile(r"KeyError: '[\w.]+\.(weight|bias|[\w]*scale|qweight|qzeros)'|no module or parameter named"),
        "The weights have a tensor that the model has no place for; upload the weights and the config.json of one revision.",
    ),
    (re.compile(r"not initialized from checkpoint"), "The weights are incomplete; upload all files of the model."),
    (
        re.compile(
            r"[Aa]ttempted to load weight|exceeds dimension size|size mismatch|^AssertionError in (load_|weight_|default_)"
        ),
        "The weights have another shape than config.json says; upload both of one revision.",
    ),
)


def is_pointer(text: str) -> bool:
    """Whether this only says that the cause is elsewhere."""
    return _POINTER.search(text) is not None


def reason(fault: BaseException) -> str:
    """The message of the outermost exception, and of the innermost what is not in it, with what to do where that is known."""
    inner = fault
    while (cause := inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)) is not None:
        inner = cause
    message, added = _message(fault), _message(inner)
    if is_pointer(message) and isinstance(inner, EOFError | ConnectionError):
        return message  # of a process that is gone, and wrote why before
    text = message if added in message else added if is_pointer(message) else f"{message} ({added})"
    return _with_cure(re.sub(r"\s*\n\s*", " ", text))


def _message(fault: BaseException) -> str:
    if isinstance(fault, pydantic.ValidationError):
        return "; ".join(error["msg"].removeprefix("Value error, ") for error in fault.errors())
    text = str(fault).strip()
    if "Traceback (most recent call last)" in text:  # of another process, which ends with the exception itself
        text = text.splitlines()[-1]
    if not text:
        frame = (traceback.extract_tb(fault.__traceback__) or [None])[-1]
        where = f" in {frame.name} ({frame.filename.rpartition('site-packages/')[2]}:{frame.lineno})" if frame else ""
        return f"{type(fault).__name__}{where}"
    text = text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
    return f"{type(fault).__name__}: {text}" if isinstance(fault, _OPAQUE) else text


def _with_cure(text: str) -> str:
    for pattern, sentence in _SENTENCES:
        if match := pattern.search(text):
            return match.expand(sentence)
    return next((f"{text.rstrip('.')}. {cure}" for pattern, cure in _CURES if pattern.search(text)), text)
