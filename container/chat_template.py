"""`chat_template` as it was set (a path, an address or the text itself) -> what the engine is given."""

import urllib.request
from http.client import HTTPException

from handler.errors import StartError

FETCH_SECONDS = 10.0
LARGEST = 2**20  # bytes; the longest templates in use have some 20,000


def chat_template(setting: str | None) -> str | None:
    """The text behind an http(s) address; a path or a text as it is, which the engine reads itself.

    Raises StartError where the address does not give a text in time. The address is the operator's, so it may be a
    private one.
    """
    if setting is None or not setting.startswith(("http://", "https://")):
        return setting
    try:
        with urllib.request.urlopen(setting, timeout=FETCH_SECONDS) as answer:  # noqa: S310  # http or https, see above
            text = answer.read(LARGEST + 1)
    except (OSError, HTTPException, ValueError) as fault:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} could not be fetched: {fault}") from fault
    if len(text) > LARGEST:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} is larger than {LARGEST} bytes, which no chat template is.")
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError as fault:
        raise StartError(f"OPTION_CHAT_TEMPLATE={setting!r} is not a text in UTF-8.") from fault
