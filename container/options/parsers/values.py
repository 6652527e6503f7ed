"""Text of one setting -> its value. A parser raises ValueError with the rest of a sentence that begins with the
setting: `OPTION_ENFORCE_EAGER='yep'` + `is not true or false`."""

import ipaddress
import json
import math
import re
from collections.abc import Callable
from typing import Any, Literal

from pydantic import SecretStr

Parser = Callable[[str], Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_ANY_SIZE = 1024 * GIB
LONGEST_RUN = 2**16  # placeholder tokens of one image; vLLM 0.5 had 2928 at most

# LMI reads booleans with pydantic, which takes all of these.
_TRUE = ("true", "t", "yes", "y", "on", "1")
_FALSE = ("false", "f", "no", "n", "off", "0")
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "kb": 10**3, "mb": 10**6, "gb": 10**9}
# vLLM's own rule: a small letter is decimal, a capital is binary.
_TOKENS = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG])", re.ASCII)
_TOKEN_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
_ADDRESS = re.compile(r"http://([\w.-]+|\[[0-9A-Fa-f:]+\])(?::(\d+))?/?", re.ASCII)
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.ASCII)


def word(text: str) -> str:
    return text.strip()


def secret(text: str) -> SecretStr:
    value = text.strip()
    if value != value.strip("\"'") or len(value.split()) > 1:
        raise ValueError("has quotation marks or blanks in it, which are no part of a token; leave them out")
    return SecretStr(value)


def true_or_false(text: str) -> bool:
    value = text.strip().lower()
    if value not in _TRUE + _FALSE:
        raise ValueError("is not true or false")
    return value in _TRUE


def inverted(text: str) -> bool:
    """For a variable that says the opposite of its option."""
    return not true_or_false(text)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`, both included."""
    span = f"from {least} to {most}" if most is not None else f"of {least} or more"

    def parse(text: str) -> int:
        value = int(text) if _WHOLE.fullmatch(text.strip()) else None
        if value is None or value < least or (most is not None and value > most):
            raise ValueError(f"is not a whole number {span}")
        return value

    return parse


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def seconds(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise ValueError("is not a number of seconds above 0, such as 10 or 2.5")
    return value


def fraction(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise ValueError("is not a number above 0 and up to 1, such as 0.9")
    return value


def gibibytes(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise ValueError("is not a number of GiB, 0 or more")
    return value


def size(text: str) -> int:
    """Bytes: `67108864`, `64MiB`, `64 MB`."""
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    value = int(float(match[1]) * unit) if match and unit else 0
    if value < 1:
        raise ValueError("is not a number of bytes above 0, such as 67108864 or 64MiB")
    return value


def mebibytes(text: str) -> int:
    """Bytes, of a variable that counts MiB. SageMaker's batch transform writes 0 for a payload of any size."""
    return whole(0)(text) * MIB or _ANY_SIZE


def tokens(text: str) -> int:
    """Tokens: `8192`, or vLLM's `32k` (32,000) and `32K` (32,768)."""
    match = _TOKENS.fullmatch(text.strip())
    if match:
        return int(float(match[1]) * _TOKEN_UNITS[match[2]])
    try:
        return whole(1)(text)
    except ValueError:
        raise ValueError("is not a number of tokens of 1 or more, such as 8192 or 32K") from None


def context_length(text: str) -> int:
    """Tokens, or `auto` (-1 for vLLM): the longest that fits into memory."""
    return -1 if text.strip().lower() in ("auto", "-1") else tokens(text)


def degree(text: str) -> int | Literal["max"]:
    if text.strip().lower() == "max":
        return "max"
    try:
        return whole(1)(text)
    except ValueError:
        raise ValueError("is neither max (all GPUs) nor a whole number of 1 or more") from None


def choice(*known: str, **synonyms: str) -> Callable[[str], str]:
    """A parser of one of `known`, in any case; `synonyms` maps other spellings to one of them."""

    def parse(text: str) -> str:
        value = text.strip().lower()
        value = synonyms.get(value, value)
        if value not in known:
            raise ValueError(f"is not one of {', '.join(known)}")
        return value

    return parse


_DTYPE = choice("auto", "float16", "bfloat16", "float32", fp16="float16", half="float16", bf16="bfloat16",
                fp32="float32", float="float32")  # fmt: skip


def dtype(text: str) -> str:
    """vLLM's name of it, from vLLM's names and LMI's."""
    if text.strip().lower() == "int8":
        raise ValueError("is a quantization, not a type to compute in; remove it, and set OPTION_QUANTIZE instead")
    return _DTYPE(text)


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cure = "; JSON has double quotation marks" if "'" in text and '"' not in text else ""
        raise ValueError(f"is not a JSON object: {error.msg} at character {error.pos + 1}{cure}") from None
    except RecursionError:
        raise ValueError("is not a JSON object: it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError('is not a JSON object, such as {"name": 1}')  # noqa: TRY004  parsers raise ValueError
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"names {twice!r} twice; name it once")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"is not a JSON object: {name} is no JSON")


def names(text: str) -> tuple[str, ...]:
    """One name, or several: with commas, with blanks, or as a JSON list."""
    if text.strip().startswith("["):
        try:
            listed = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not a JSON list: {error.msg} at character {error.pos + 1}") from None
        if not all(isinstance(name, str) and name.strip() for name in listed):
            raise ValueError('is not a list of names, such as ["one", "two"]')
        found = [name.strip() for name in listed]
    else:
        found = re.split(r"[,\s]+", text.strip(", \t\r\n\f"))
    if not any(found):
        raise ValueError("names nothing; name at least one, or remove it")
    return tuple(dict.fromkeys(found))


def hosts(text: str) -> tuple[str, ...]:
    """Exact host names or addresses, in small letters."""
    return tuple(_host(name.lower()) for name in names(text))


def _host(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        if _HOST.fullmatch(name):
            return name
    raise ValueError(f"lists {name!r}, which is no host; give exact hosts without scheme, port, path or *")


def networks(text: str) -> tuple[Network, ...]:
    """Networks as `10.0.0.0/8`; an address alone is a network of one."""
    return tuple(_network(name) for name in names(text))


def _network(name: str) -> Network:
    try:
        return ipaddress.ip_network(name)
    except ValueError:
        pass
    try:
        cure = f"write {ipaddress.ip_network(name, strict=False)}"
    except ValueError:
        cure = "write networks such as 10.0.0.0/8 or fd00::/8"
    raise ValueError(f"lists {name!r}, which is no network; {cure}")


def placeholder(text: str) -> str:
    return text.strip(" \t")  # a line end may be part of the token


def loaded_model(text: str) -> str | None:
    """The address in LMI's `name:version:engine:device=url`, or None where it names no model: ALL and NONE."""
    entries = re.split(r"[,\s]+", text.strip(", \t\r\n\f"))
    if len(entries) > 1:
        raise ValueError(f"names {len(entries)} models, and Lumi serves one; name one of them")
    if entries[0].upper() in ("ALL", "NONE"):
        return None
    name, sign, address = entries[0].partition("=")
    return address if sign and "/" not in name else entries[0]


def address_host(text: str) -> str:
    """The host of LMI's `http://0.0.0.0:8080`."""
    return _address(text)[1].strip("[]")


def address_port(text: str) -> int:
    """The port of LMI's `http://0.0.0.0:8080`."""
    return whole(1, 65535)(_address(text)[2] or "80")


def _address(text: str) -> re.Match[str]:
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise ValueError("is no address to listen on; write http://host:port: Lumi speaks plain HTTP over TCP")
    return match


def image_input_type(text: str) -> bool:
    """vLLM 0.5's name for whether image features may be sent."""
    return choice("pixel_values", "image_features")(text) == "image_features"


def image_shape(text: str) -> tuple[int, int]:
    """(width, height) of vLLM 0.5's `1,3,height,width`."""
    found = [int(part) for part in text.strip(" ()[]").split(",") if _WHOLE.fullmatch(part.strip())]
    if len(found) != text.count(",") + 1 or len(found) < 2 or min(found) < 1:
        raise ValueError("is no shape of an image, such as 1,3,336,336 (batch, channels, height, width)")
    return found[-1], found[-2]


def is_template_text(text: str) -> bool:
    """vLLM's rule: what holds a brace or a line end is a Jinja template, everything else says where one is."""
    return any(mark in text for mark in "{}\n")


def chat_template(text: str) -> str:
    """A template's text, address or path."""
    return text if is_template_text(text) else text.strip()
