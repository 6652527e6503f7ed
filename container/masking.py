"""A text, or a setting's name and text -> what logs, warnings and errors may show of it."""

import re
from collections.abc import Sequence

MASK = "***"
_MAX_CHARACTERS = 160

# TOKEN as in HF_TOKEN, not as in MAX_NUM_BATCHED_TOKENS, TOKENIZER or IMAGE_TOKEN_ID.
_SECRET_NAME = re.compile(r"token(?!s|i[sz]|_id|_threshold)|key|secret|passw|credential", re.IGNORECASE)
# `name=value` or `"name": "value"` within a value. `num_key_value_heads` is no secret, `api_key` is.
_INNER = re.compile(
    r"""(?P<name>["']?[\w.-]*(?:token|key|secret|passw(?:or)?d|passphrase|credentials?)["']?\s*[:=]\s*)"""
    r"""(?:"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;}\]]+)""",
    re.IGNORECASE,
)
_SECRET_SHAPE = re.compile(r"\bhf_[A-Za-z0-9]{16,}")  # a Hugging Face token anywhere in a text
_SIGNED_URL = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")  # a query may be a signature
_USER_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
# Tokens of Hugging Face and AWS, bearer tokens, users and queries of URLs, the data of data: URLs: each in a log line.
_SECRET_IN_LINE = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?<=://)[^/@\s\"'\\]+(?=@)"
    r"|(?i:(?<=bearer )[\w.~+/=-]{8,}|(?<=;base64,)[\w+/=%-]{16,})"
    r"|(?<=\?)(?:[\w.~%+-]+=[^\s\"'\\&]*&)*(?:[Xx]-[Aa]mz-|(?i:[\w-]*(?:sig|signature|token|key|credential)=))[^\s\"'\\]*"
)
# Without one of these nothing matches: the search takes 50 microseconds, and a request logs a line.
_HINTS = ("hf_", "AKIA", "ASIA", "://", "?", "earer ", "EARER ", "ase64,", "ASE64,")


def is_secret_name(name: str) -> bool:
    """Whether the name of an unknown setting suggests that its value is a secret."""
    return _SECRET_NAME.search(name) is not None


def quote(text: str, *, secret: bool = False) -> str:
    """`text` as one quoted line of limited length, without secrets."""
    if secret:
        return MASK
    clean = mask(text)
    return repr(clean if len(clean) <= _MAX_CHARACTERS else f"{clean[:_MAX_CHARACTERS]}... ({len(clean)} characters)")


def mask(text: str) -> str:
    """`text` without anything that looks like a secret."""
    inner = _INNER.sub(rf"\g<name>{MASK}", text)
    return _SIGNED_URL.sub(rf"\1?{MASK}", _USER_IN_URL.sub(MASK, _SECRET_SHAPE.sub(MASK, inner)))


def redact(line: str, secrets: Sequence[str] = ()) -> str:
    """A log line without `secrets` and without what has the shape of one. `mask`, for settings, masks more."""
    for secret in secrets:
        line = line.replace(secret, MASK)
    return _SECRET_IN_LINE.sub(MASK, line) if any(hint in line for hint in _HINTS) else line
