"""ImagePart -> MediaRef: the kind of reference and what it points to. No I/O, and nothing large is copied."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pybase64
from yarl import URL

from handler.errors import MediaForbidden, MediaInvalid, MediaTooLarge
from handler.media.addresses import AddressPolicy, normalize_host
from handler.media.limits import MediaLimits
from handler.payload.parts import ImagePart

_ACCEPTED = "Accepted are https:// and http:// URLs, and data:image/...;base64,<base64>"
_DATA_URL = "Write data:image/jpeg;base64,<base64>"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]{0,30}):")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")  # a name (IDNA-encoded) or an address; no zone id, no %-escape
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f\\]")
_MAX_DATA_HEADER = 256  # characters of a data: URL before its comma
# How the accepted formats begin in base64: JPEG, PNG, GIF, WEBP, BMP, TIFF in either byte order.
_BASE64_SIGNATURES = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk0", "Qk1", "Qk2", "Qk3", "SUkqA", "TU0AK")
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")  # from the URL-safe one
_WHITE_SPACE = b" \t\r\n\v\f"
# What a client may escape in base64, in both cases of the digits.
_ESCAPES = tuple(
    (spelling, bytes([character]))
    for character in b"+/=\r\n "
    for spelling in sorted({b"%%%02X" % character, b"%%%02x" % character})
)


@dataclass(frozen=True, slots=True, eq=False)
class Inline:
    """An image inside the request: `text` from `start` on is base64, not decoded yet.

    `size` is about how many bytes it decodes to: at most two too many, unless white space or escapes pad the text.
    """

    text: str = field(repr=False)
    start: int
    size: int
    path: str

    def decode(self) -> bytes:
        """The encoded image. Takes about 0.1 ms per MB: a large one belongs off the event loop."""
        text = self.text[self.start :]
        decoded: bytes
        with contextlib.suppress(ValueError):
            decoded = pybase64.b64decode(text, validate=True)
            return decoded
        # Harmless mistakes of clients: lines wrapped at 76 columns, percent-escapes, the URL-safe alphabet, missing
        # padding. Anything else is not base64. No step makes an object of each character: there may be 28 million.
        try:
            tidy = text.encode("ascii")
            for escape, character in _ESCAPES:
                tidy = tidy.replace(escape, character)
            tidy = tidy.translate(_STANDARD_ALPHABET, _WHITE_SPACE).rstrip(b"=")
            decoded = pybase64.b64decode(tidy + b"=" * (-len(tidy) % 4), validate=True)
        except ValueError as error:
            raise MediaInvalid("The image is not valid base64.", param=self.path) from error
        return decoded


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """An image whose `size` bytes are here, in one piece or several."""

    pieces: Sequence[bytes] = field(repr=False)
    size: int
    path: str

    def decode(self) -> bytes:
        """The encoded image. Joining megabytes belongs off the event loop."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Remote:
    """An image to fetch. Its host is allowed; its addresses are not checked yet. Equal where the URL is equal."""

    url: URL = field(repr=False)  # may carry a signature
    path: str = field(compare=False)

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages: the rest of a URL may be secret."""
        return str(self.url.origin())


MediaRef = Inline | Raw | Remote


def parse_reference(part: ImagePart, limits: MediaLimits, policy: AddressPolicy) -> MediaRef:
    """What the part refers to. Raises MediaInvalid, MediaForbidden, or MediaTooLarge for a data: URL over the limit."""
    url, path = part.url, part.path
    if isinstance(url, bytes):
        if len(url) > limits.image_bytes:
            raise too_many_bytes(limits, path)
        return Raw((url,), len(url), path)
    if url[:5].lower() == "data:" or url.startswith(_BASE64_SIGNATURES):
        return _parse_inline(url, path, limits)
    return _parse_remote(url.strip(), path, limits, policy)


def _parse_inline(text: str, path: str, limits: MediaLimits) -> Inline:
    start = 0
    if text[:5].lower() == "data:":
        start = text.find(",", 0, _MAX_DATA_HEADER) + 1
        if not start:
            raise MediaInvalid(f"The data: URL has no comma. {_DATA_URL}.", param=path)
        # The media type is not looked at: the bytes say what they are.
        if not text[: start - 1].rstrip().lower().endswith(";base64"):
            raise MediaInvalid(f"The data: URL does not say that it is base64. {_DATA_URL}.", param=path)
    if len(text) == start:
        raise MediaInvalid("The image is empty.", param=path)
    size = (len(text) - start) * 3 // 4
    if size - 2 > limits.image_bytes:
        raise too_many_bytes(limits, path)
    return Inline(text, start, size, path)


def _parse_remote(text: str, path: str, limits: MediaLimits, policy: AddressPolicy) -> Remote:
    if not text:
        raise MediaInvalid(f"The image's URL is empty. {_ACCEPTED}.", param=path)
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise MediaInvalid(f"The image is neither a URL nor the base64 of an image. {_ACCEPTED}.", param=path)
    if (name := scheme[1].lower()) not in {"http", "https"}:
        hint = " For an object on S3, send a presigned https:// URL." if name == "s3" else ""
        raise MediaInvalid(f"The scheme {name!r} of the image's URL is not supported. {_ACCEPTED}.{hint}", param=path)
    if len(text) > limits.url_characters:
        raise MediaInvalid(f"The image's URL is longer than {limits.url_characters} characters.", param=path)
    try:
        remote = Remote(parse_url(text), path)
    except ValueError as error:
        raise MediaInvalid(f"The image's URL cannot be used: {error}.", param=path) from error
    check_host(remote, policy)
    return remote


def parse_url(text: str) -> URL:
    """The http or https URL in `text`. Raises ValueError with half a sentence for the client.

    The same object is checked and connected to, so that no second parser can disagree. Path and query are kept as
    written where possible: quoting them again breaks some signatures.
    """
    if _UNPRINTABLE.search(text) is not None:
        raise ValueError("it contains a space, a control character or a backslash")
    try:
        url = URL(text)
        exact = URL(text, encoded=True)
    except ValueError as error:
        raise ValueError("it is malformed") from error
    if url.scheme not in {"http", "https"}:
        raise ValueError("its scheme is neither https nor http")
    if url.user is not None or url.password is not None:
        raise ValueError("it contains credentials")
    if not url.raw_host or not _HOST.fullmatch(url.raw_host):
        raise ValueError("it has no valid host")
    return exact if text.isascii() and exact.raw_host == url.raw_host else url


def check_host(ref: Remote, policy: AddressPolicy, *, redirected: bool = False) -> None:
    """Raises MediaForbidden for a host that is not on the operator's list."""
    if not policy.allows_host(normalize_host(ref.url.raw_host or "")):
        subject = "The image's URL redirects to a host" if redirected else f"The host of {ref.origin} is one"
        cure = "The operator can add it to OPTION_ALLOWED_MEDIA_DOMAINS"
        raise MediaForbidden(f"{subject} that this server may not contact. {cure}.", param=ref.path)


def too_many_bytes(limits: MediaLimits, path: str) -> MediaTooLarge:
    """The error for an image of more bytes than the limit."""
    cure = "The operator can raise OPTION_MEDIA_MAX_PICTURE_BYTES"
    return MediaTooLarge(f"The image has more than the {limits.image_bytes:,} bytes allowed. {cure}.", param=path)
