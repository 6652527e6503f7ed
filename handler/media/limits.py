"""MediaLimits: every limit on what a request may contain or make this server fetch, in one place."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """The limits of one server. The operator sets the upper block; the lower one is fixed.

    `allowed_hosts` does not replace the address rule: a listed host must also resolve to addresses that are global or
    inside `allowed_networks`. Empty means any host. Any port may be contacted: only the address is checked.
    """

    images_per_prompt: int = 1
    image_bytes: int = 20 * 2**20
    image_pixels: int = 50_000_000
    image_side: int = 32_768  # pixels; browsers draw no longer ones, and WebP has 16,383
    image_aspect_ratio: int = 200  # the longer side by the shorter one: what Qwen's and GLM's processors take
    fetch_seconds: float = 10.0  # of one image: resolve, connect, redirects and body together
    connect_seconds: float = 3.0  # of one hop: resolve and connect; `fetch_seconds` bounds it too
    redirects: int = 3
    allowed_hosts: tuple[str, ...] = ()
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    # Pillow's names. Each is decoded in this process and is written by cameras, browsers or scanners; Pillow's rarer
    # decoders are not exposed to untrusted bytes.
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    url_characters: int = 8192  # of an http URL: servers reject longer request lines
    fetches_per_request: int = 8  # at a time
    fetches: int = 64  # at a time, for all requests together
    # Host names resolved at a time; a lookup that hangs occupies a thread until the resolver gives up.
    lookups: int = 16
    inline_bytes: int = 48 * 2**10  # hashed on the event loop (< 0.05 ms); more goes to the thread pool
    decoded_pixels: int = 200_000_000  # in memory at a time, for all requests together: four bytes each
    remembered_images: int = 4096  # sizes kept by digest, so that the header of a repeated image is not parsed again
