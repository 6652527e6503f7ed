"""MediaLimits: every bound on what a request may bring or make this server fetch, in one place."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """The bounds of one server. The upper block is the operator's to set; the lower one is ours.

    `allowed_hosts` and the address rule hold together: a listed host must also resolve to addresses that are global
    or inside `allowed_networks`. Empty means any host. Any port may be contacted: the address decides, not the port.
    """

    images_per_prompt: int = 1
    image_bytes: int = 20 * 2**20
    image_pixels: int = 50_000_000
    fetch_seconds: float = 10.0  # of one image: resolve, connect, redirects and body together
    connect_seconds: float = 3.0  # of one hop: resolve and connect; `fetch_seconds` bounds it too
    redirects: int = 3
    allowed_hosts: tuple[str, ...] = ()
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    # Pillow's names. Each decodes inside the process, without a helper program, and is what cameras, browsers and
    # scanners write; Pillow's rarer readers stay out of reach of untrusted bytes.
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    url_characters: int = 8192  # of an http URL: servers refuse longer request lines
    fetches_per_request: int = 8  # at a time
    fetches: int = 64  # at a time, of all requests together
    lookups: int = 16  # names resolved at a time; a lookup that hangs occupies a thread until the resolver gives up
    inline_bytes: int = 48 * 2**10  # hashed on the event loop (< 0.05 ms); more goes to the thread pool
    decoded_pixels: int = 200_000_000  # in memory at a time, of all requests together: three bytes each
    remembered_images: int = 4096  # sizes kept by digest, so that a repeated image's header is not parsed again
