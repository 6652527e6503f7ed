"""Remote -> bytes: one GET over a network that is not to be trusted, within limits and one deadline."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from handler.errors import MediaError, MediaForbidden, MediaInvalid, MediaUnreachable
from handler.media.addresses import AddressPolicy, ForbiddenAddress
from handler.media.limits import MediaLimits
from handler.media.references import Remote, check_host, remote_url, too_many_bytes

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""A host name -> its IP addresses; raises OSError where there are none. The seam at which tests play DNS."""

_HEADERS = {"User-Agent": "lumi", "Accept": "image/*", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "compress", "br", "zstd"})

# Foreign exception -> our error and what is said of the origin, the first that fits. No foreign text is passed on: it
# names resolved addresses. A refused connection reads like an unanswered one, so that nobody scans ports with us.
_FAULTS: tuple[tuple[type[BaseException], type[MediaError], str], ...] = (
    (aiohttp.ClientConnectorDNSError, MediaUnreachable, "has a name that cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, MediaUnreachable, "has a TLS certificate that cannot be verified"),
    (aiohttp.ClientSSLError, MediaUnreachable, "failed in the TLS handshake"),
    (aiohttp.ClientConnectorError, MediaUnreachable, "does not accept a connection"),
    (aiohttp.ServerTimeoutError, MediaUnreachable, "does not accept a connection"),
    (aiohttp.ServerConnectionError, MediaUnreachable, "closed the connection without an answer"),
    (aiohttp.ClientConnectionError, MediaUnreachable, "closed the connection"),
    (aiohttp.ClientPayloadError, MediaUnreachable, "ended its answer early"),
    (aiohttp.InvalidURL, MediaInvalid, "has a host that is not valid"),
    (aiohttp.ClientError, MediaUnreachable, "did not answer in HTTP"),
    (OSError, MediaUnreachable, "closed the connection"),
    (ValueError, MediaInvalid, "has a host that is not valid"),  # UnicodeError of a label that is too long
)


class Fetcher:
    """Downloads images from addresses that the policy admits. `start` on the event loop first, `aclose` last.

    What protects the network around the server: each address is checked when its socket is made, so that no trick of
    spelling, DNS or redirect gets past; a name is refused altogether if any of its addresses is forbidden. Nothing is
    kept between requests but idle connections, whose addresses were checked: no cookies, no DNS cache, no proxies.
    """

    def __init__(self, limits: MediaLimits, policy: AddressPolicy, *, lookup: Lookup | None = None) -> None:
        self._limits = limits
        self._policy = policy
        self._threads = ThreadPoolExecutor(limits.lookups, "lumi-lookup")
        self._lookup = lookup or self._system_lookup
        self._turns = asyncio.Semaphore(limits.fetches)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Load the certificates and open the connection pool."""
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(
            ssl=await loop.run_in_executor(self._threads, ssl.create_default_context),
            limit=self._limits.fetches,
            resolver=_CheckedResolver(self._lookup, self._policy),
            use_dns_cache=False,
            socket_factory=self._socket,
        )
        seconds = min(self._limits.connect_seconds, self._limits.fetch_seconds)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, connect=seconds, sock_connect=seconds),
            auto_decompress=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections. Fetches in progress fail."""
        if self._session is not None:
            await self._session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, ref: Remote) -> list[bytes]:
        """The image, in the pieces in which it came: joining megabytes is for a thread.

        Raises MediaForbidden, MediaUnreachable, MediaTooLarge, or MediaInvalid.
        """
        async with self._turns:
            deadline = asyncio.timeout(self._limits.fetch_seconds)
            route = [ref]
            try:
                async with deadline:
                    return await self._follow(route)
            except MediaError:
                raise
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise self._translated(error, route, late=deadline.expired()) from error

    async def _follow(self, route: list[Remote]) -> list[bytes]:
        """The body at the end of the route, which grows by each redirect."""
        if self._session is None:
            raise RuntimeError("Fetcher.start() comes before fetch()")
        while len(route) <= self._limits.redirects + 1:
            async with self._session.get(route[-1].url, allow_redirects=False) as response:
                target = response.headers.get("Location") if response.status in _REDIRECTS else None
                if target is None:
                    return await self._body(response, route)
            route.append(self._hop(route[-1], target))
        start = route[0]
        raise MediaUnreachable(f"{start.origin} redirects more than {self._limits.redirects} times.", param=start.path)

    def _hop(self, here: Remote, target: str) -> Remote:
        subject = "The image's URL redirects to one that cannot be used"
        try:
            there = Remote(remote_url(urljoin(str(here.url), target)), here.path)
        except ValueError as error:
            raise MediaForbidden(f"{subject}: {error}.", param=here.path) from error
        if here.url.scheme == "https" and there.url.scheme != "https":
            raise MediaForbidden(f"{subject}: it goes from https back to http.", param=here.path)
        check_host(there, self._policy, redirected=True)
        return there

    async def _body(self, response: aiohttp.ClientResponse, route: list[Remote]) -> list[bytes]:
        subject, path = _subject(route), route[0].path
        if not 200 <= response.status < 300:
            raise MediaUnreachable(f"{subject} answered HTTP {response.status}.", param=path)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in _COMPRESSED:  # we asked for identity; inflating it would need a second limit
            raise MediaUnreachable(
                f"{subject} answered with Content-Encoding {encoding}. Serve the image as it is.", param=path
            )
        limit = self._limits.image_bytes
        if (response.content_length or 0) > limit:
            raise too_many_bytes(self._limits, path)
        pieces: list[bytes] = []
        size = 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > limit:
                raise too_many_bytes(self._limits, path)
            pieces.append(piece)
        return pieces

    def _translated(self, error: BaseException, route: list[Remote], *, late: bool) -> MediaError:
        ref = route[0]
        if late:
            return MediaUnreachable(
                f"{ref.origin} did not deliver the image within {self._limits.fetch_seconds:g} s. The operator can "
                "raise OPTION_IMAGE_FETCH_TIMEOUT.",
                param=ref.path,
            )
        if isinstance(getattr(error, "os_error", error), ForbiddenAddress):
            return MediaForbidden(
                f"{ref.origin} resolves or redirects to an address that this server may not contact. The operator can "
                "allow it in OPTION_MEDIA_ALLOWED_NETWORKS.",
                param=ref.path,
            )
        kind, what = next((kind, what) for foreign, kind, what in _FAULTS if isinstance(error, foreign))
        return kind(f"{_subject(route)} {what}.", param=ref.path)

    def _socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """A socket for just this address: the last word on it, whatever was checked before."""
        family, kind, protocol, _, address = info
        if not self._policy.admits_address(str(address[0])):
            raise ForbiddenAddress("forbidden address")
        return socket.socket(family, kind, protocol)

    async def _system_lookup(self, host: str) -> Sequence[str]:
        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            return [str(address[0]) for *_, address in found]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)


class _CheckedResolver(AbstractResolver):
    """Refuses a name before any of its addresses is dialled if one of them is forbidden.

    A public name with a private address among its own is a trap or a mistake; and with happy eyeballs, aiohttp would
    take the refusal of one address for a reason to try the next.
    """

    def __init__(self, lookup: Lookup, policy: AddressPolicy) -> None:
        self._lookup = lookup
        self._policy = policy

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # both families are always asked for
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host)
        if not all(self._policy.admits_address(address) for address in addresses):
            raise ForbiddenAddress("forbidden address")
        if not addresses:
            raise OSError("no address")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to release: the lookup belongs to the fetcher."""


def _subject(route: list[Remote]) -> str:
    """Who is at fault, for a message. The target of a redirect stays unnamed: the client did not write it."""
    return route[0].origin if len(route) == 1 else f"{route[0].origin} redirects to a server that"


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
