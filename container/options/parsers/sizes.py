"""Text of an amount of bytes or tokens -> a whole number. A parser raises ValueError, as those of values.py do."""

import re
from collections.abc import Callable

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_UNLIMITED = 1024 * GIB

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
# vLLM's own rule: a small letter is decimal, a capital is binary.
_SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)([kmgt])", re.ASCII | re.IGNORECASE)
_SUFFIXES = {letter: 10**power for letter, power in zip("kmgt", (3, 6, 9, 12), strict=True)}
_SUFFIXES |= {letter: 2**power for letter, power in zip("KMGT", (10, 20, 30, 40), strict=True)}


def parse_bytes(text: str) -> int:
    """`67108864`, `64MiB`, `64 MB`."""
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    value = int(float(match[1]) * unit) if match and unit else 0
    if value < 1:
        raise ValueError("is not a number of bytes above 0, such as 67108864 or 64MiB")
    return value


def parse_mebibytes(text: str) -> int:
    """Bytes, of a variable that counts MiB. SageMaker's batch transform writes 0 for a payload of any size."""
    return whole(0)(text) * MIB or _UNLIMITED


def parse_engine_bytes(text: str) -> int:
    """Bytes as vLLM reads them: `1000`, `1k` (1,000), `1K` (1,024)."""
    try:
        return _parse_suffix(text, 0)
    except ValueError:
        raise ValueError("is not a number of bytes such as 8000000000, 8g (8 x 10^9) or 8G (8 x 2^30)") from None


def parse_tokens(text: str) -> int:
    """`8192`, or vLLM's `32k` (32,000) and `32K` (32,768)."""
    try:
        return _parse_suffix(text, 1)
    except ValueError:
        raise ValueError("is not a number of tokens of 1 or more, such as 8192 or 32K") from None


def parse_context_length(text: str) -> int:
    """Tokens, or `auto` (-1 for vLLM): the longest that fits into memory."""
    return -1 if text.strip().lower() in ("auto", "-1") else parse_tokens(text)


def whole(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers from `minimum` to `maximum`, both included."""
    span = f"from {minimum} to {maximum}" if maximum is not None else f"of {minimum} or more"

    def parse(text: str) -> int:
        value = int(text) if _WHOLE.fullmatch(text.strip()) else None
        if value is None or value < minimum or (maximum is not None and value > maximum):
            raise ValueError(f"is not a whole number {span}")
        return value

    return parse


def _parse_suffix(text: str, minimum: int) -> int:
    match = _SUFFIXED.fullmatch(text.strip())
    return int(float(match[1]) * _SUFFIXES[match[2]]) if match else whole(minimum)(text)
