"""ImagePart -> MediaRef: what kind of reference it is and where it points. Pure: no I/O, nothing large is copied."""

import contextlib
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import pybase64
from yarl import URL

from handler.errors import MediaForbidden, MediaInvalid, MediaTooLarge
from handler.media.addresses import AddressPolicy, normal_host
from handler.media.limits import MediaLimits
from handler.payload.parts import ImagePart

_ACCEPTED = "Ignored are https:// and http:// URLs and data:image/...;base64,<base64>"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]{0,30}):")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")  # a name (IDNA-encoded) or an address; no zone id, no %-escape
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_DATA_HEADER = 256  # characters in which the comma of a data: URL must come
# How the accepted formats begin in base64: JPEG, PNG, GIF, WEBP, BMP, TIFF in either byte order.
_BARE_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk0", "Qk1", "Qk2", "Qk3", "SUkqA", "TU0AK")
_LENIENT = bytes.maketrans(b"-_", b"+/")  # the URL-safe alphabet


@dataclass(frozen=True, slots=True)
class Inline:
    """An image inside the request: `text` from `start` on is base64, not decoded yet."""

    text: str = field(repr=False)
    start: int
    path: str

    @property
    def size(self) -> int:
        """About how many bytes it decodes to: at most two too many, unless white space or escapes pad the text."""
        return (len(self.text) - self.start) * 3 // 4

    def decode(self) -> bytes:
        """The encoded image. Takes about 0.1 ms per MB: a large one belongs off the event loop."""
        text = self.text[self.start :]
        with contextlib.suppress(ValueError):
            return _strict(text)
        # What clients get wrong without harm: lines wrapped at 76 columns, percent-escapes, the URL-safe alphabet,
        # padding left off. Anything else is not base64.
        tidy = b"".join(unquote_to_bytes(text).split()).translate(_LENIENT).rstrip(b"=")
        try:
            return _strict(tidy + b"=" * (-len(tidy) % 4))
        except ValueError as error:
            raise MediaInvalid("The image is not valid base64.", param=self.path) from error


@dataclass(frozen=True, slots=True)
class Remote:
    """An image to fetch. Its host is allowed; its addresses have not been looked at."""

    url: URL = field(repr=False)  # may carry a signature
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages: the rest of a URL may be secret."""
        return str(self.url.origin())


@dataclass(frozen=True, slots=True)
class Carried:
    """An image whose bytes the request brought as they are."""

    data: bytes = field(repr=False)
    path: str

    @property
    def size(self) -> int:
        return len(self.data)

    def decode(self) -> bytes:
        """The encoded image."""
        return self.data


MediaRef = Inline | Carried | Remote


def reference(part: ImagePart, limits: MediaLimits, policy: AddressPolicy) -> MediaRef:
    """What the part refers to. Raises MediaInvalid, MediaForbidden, or MediaTooLarge for a data: URL over the limit."""
    url, path = part.url, part.path
    if isinstance(url, bytes):
        return _carried(url, path, limits)
    if url[:5].lower() == "data:":
        return _inline(url, _data_start(url, path), path, limits)
    if url.startswith(_BARE_BASE64):
        return _inline(url, 0, path, limits)
    text = url.strip()
    if not text:
        raise MediaInvalid(f"The image's URL is empty. {_ACCEPTED}.", param=path)
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise MediaInvalid(f"The image is neither a URL nor the base64 of an image. {_ACCEPTED}.", param=path)
    if (name := scheme[1].lower()) not in {"http", "https"}:
        hint = " A presigned URL makes an S3 object an https:// one." if name == "s3" else ""
        raise MediaInvalid(f"The scheme {name!r} of the image's URL is not supported. {_ACCEPTED}.{hint}", param=path)
    if len(text) > limits.url_characters:
        raise MediaInvalid(f"The image's URL is longer than {limits.url_characters} characters.", param=path)
    try:
        remote = Remote(remote_url(text), path)
    except ValueError as error:
        raise MediaInvalid(f"The image's URL cannot be used: {error}.", param=path) from error
    check_host(remote, policy)
    return remote


def remote_url(text: str) -> URL:
    """The http or https URL that the text spells. Raises ValueError with half a sentence for the client.

    The same object is checked and dialled, so there is no second parser to disagree with. Path and query stay as
    they are written where they can: re-quoting them breaks some signatures.
    """
    if _UNPRINTABLE.search(text) is not None:
        raise ValueError("it has a space, a control character or a backslash in it")
    try:
        url = URL(text)
        exact = URL(text, encoded=True)
    except ValueError as error:
        raise ValueError("it is malformed") from error
    if url.scheme not in {"http", "https"}:
        raise ValueError("its scheme is neither https nor http")
    if url.user is not None or url.password is not None:
        raise ValueError("it carries credentials")
    if not url.raw_host or not _HOST.fullmatch(url.raw_host):
        raise ValueError("it has no valid host")
    return exact if text.isascii() and exact.raw_host == url.raw_host else url


def check_host(ref: Remote, policy: AddressPolicy, *, redirected: bool = False) -> None:
    """Raises MediaForbidden where the operator's list of hosts leaves this one out."""
    if not policy.admits_host(normal_host(ref.url.raw_host or "")):
        subject = "The image's URL redirects to a host" if redirected else f"The host of {ref.origin} is one"
        cure = "The operator can add it to OPTION_ALLOWED_MEDIA_DOMAINS"
        raise MediaForbidden(f"{subject} that this server may not contact. {cure}.", param=ref.path)


def _carried(data: bytes, path: str, limits: MediaLimits) -> Carried:
    if len(data) > limits.image_bytes:
        raise too_many_bytes(limits, path)
    return Carried(data, path)


def _inline(text: str, start: int, path: str, limits: MediaLimits) -> Inline:
    ref = Inline(text, start, path)
    if len(text) == start:
        raise MediaInvalid("The image is empty.", param=path)
    if ref.size - 2 > limits.image_bytes:
        raise too_many_bytes(limits, path)
    return ref


def _strict(text: str | bytes) -> bytes:
    decoded: bytes = pybase64.b64decode(text, validate=True)
    return decoded


def _data_start(url: str, path: str) -> int:
    comma = url.find(",", 0, _DATA_HEADER)
    if comma < 0:
        raise MediaInvalid("The data: URL has no comma. Write data:image/jpeg;base64,<base64>.", param=path)
    # The media type in between is not believed, so it is not looked at: the bytes say what they are.
    if not url[:comma].rstrip().lower().endswith(";base64"):
        raise MediaInvalid(
            "The data: URL does not say that it is base64. Write data:image/jpeg;base64,<base64>.", param=path
        )
    return comma + 1


def too_many_bytes(limits: MediaLimits, path: str) -> MediaTooLarge:
    """The error for an image of more bytes than the limit, wherever that is found out."""
    cure = "The operator can raise OPTION_MEDIA_MAX_PICTURE_BYTES"
    return MediaTooLarge(f"The image has more than the {limits.image_bytes:,} bytes allowed. {cure}.", param=path)
