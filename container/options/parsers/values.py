"""Text of one setting -> its value. A parser raises ValueError with the rest of a sentence that begins with the
setting: `OPTION_ENFORCE_EAGER='yep'` + `is not true or false`. A parser that returns None leaves the option unset."""

import ipaddress
import json
import math
import re
from collections.abc import Callable
from typing import Any, Literal

from pydantic import SecretStr

from container.options.parsers.sizes import whole

Parser = Callable[[str], Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_IMAGE_TOKENS = 2**16  # placeholder tokens of one image; vLLM 0.5 had 2928 at most

# LMI reads booleans with pydantic, which takes all of these.
_TRUE = ("true", "t", "yes", "y", "on", "1")
_FALSE = ("false", "f", "no", "n", "off", "0")
_ADDRESS = re.compile(r"http://([\w.-]+|\[[0-9A-Fa-f:]+\])(?::(\d+))?/?", re.ASCII)
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.ASCII)


def word(text: str) -> str:
    return text.strip()


def optional_word(text: str) -> str | None:
    """vLLM takes None for nothing."""
    return None if text.strip() == "None" else text.strip()


def secret(text: str) -> SecretStr:
    value = text.strip()
    if value != value.strip("\"'") or len(value.split()) > 1:
        raise ValueError("has quotation marks or blanks, which cannot be part of a token; leave them out")
    return SecretStr(value)


def true_or_false(text: str) -> bool:
    value = text.strip().lower()
    if value not in _TRUE + _FALSE:
        raise ValueError("is not true or false")
    return value in _TRUE


def opposite(text: str) -> bool:
    """For a variable with the opposite sense of its option."""
    return not true_or_false(text)


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


def seconds_or_0(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise ValueError("is not a number of seconds, such as 300; 0 sets no limit")
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


def degree(text: str) -> int | Literal["max"]:
    if text.strip().lower() == "max":
        return "max"
    try:
        return whole(1)(text)
    except ValueError:
        raise ValueError("is not max (all GPUs) or a whole number of 1 or more") from None


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
    """vLLM's name of the data type, from vLLM's names and LMI's."""
    if text.strip().lower() == "int8":
        raise ValueError("is a quantization method, not a data type; remove it, and set OPTION_QUANTIZE instead")
    return _DTYPE(text)


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        cure = "; JSON uses double quotation marks" if "'" in text and '"' not in text else ""
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
        raise ValueError(f"has {twice!r} twice; give it once")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"is not a JSON object: {name} is not valid JSON")


def names(text: str) -> tuple[str, ...]:
    """One name, or several: separated by commas or blanks, or as a JSON list."""
    if text.strip().startswith("["):
        try:
            items = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not a JSON list: {error.msg} at character {error.pos + 1}") from None
        if not all(isinstance(name, str) and name.strip() for name in items):
            raise ValueError('is not a list of names, such as ["one", "two"]')
        found = [name.strip() for name in items]
    else:
        found = re.split(r"[,\s]+", text.strip(", \t\r\n\f"))
    if not any(found):
        raise ValueError("is empty; give at least one name, or remove it")
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
    raise ValueError(f"has {name!r}, which is not a host name; give exact hosts without scheme, port, path or *")


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
    raise ValueError(f"has {name!r}, which is not a network; {cure}")


def placeholder(text: str) -> str:
    return text.strip(" \t")  # a line end may be part of the token


def loaded_model(text: str) -> str | None:
    """The address in LMI's `name:version:engine:device=url`; None for ALL and NONE, which name no model."""
    entries = re.split(r"[,\s]+", text.strip(", \t\r\n\f"))
    if len(entries) > 1:
        raise ValueError(f"names {len(entries)} models, but Lumi serves one; name one of them")
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
        raise ValueError("is not an address to listen on; write http://host:port (Lumi serves plain HTTP over TCP)")
    return match


def image_input_type(text: str) -> bool:
    """vLLM 0.5's name for whether requests may send image embeddings."""
    return choice("pixel_values", "image_features")(text) == "image_features"


def image_shape(text: str) -> tuple[int, int]:
    """(width, height) of vLLM 0.5's `1,3,height,width`."""
    try:
        *_, height, width = [whole(1)(part) for part in text.strip(" ()[]").split(",")]
    except ValueError:
        raise ValueError("is not the shape of an image, such as 1,3,336,336 (batch, channels, height, width)") from None
    return width, height


def is_template_text(text: str) -> bool:
    """vLLM's rule: a text with a brace or a line end is a Jinja template, any other is a path or an address."""
    return any(character in text for character in "{}\n")


def chat_template(text: str) -> str:
    """A template's text, address or path."""
    return text if is_template_text(text) else text.strip()
