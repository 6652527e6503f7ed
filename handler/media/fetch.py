"""Remote -> bytes: one GET over an untrusted network, within limits and one deadline."""

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
from handler.media.references import Remote, check_host, parse_url, too_many_bytes

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""A host name -> its IP addresses; raises OSError if there are none. Tests replace DNS here."""

_HEADERS = {"User-Agent": "lumi", "Accept": "image/*", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "compress", "br", "zstd"})

# Foreign exception -> our error and what happened at the origin; the first match counts. Foreign text is not passed on:
# it names resolved addresses. A refused connection reads like a timeout, so that nobody can scan ports through us.
_FAULTS: tuple[tuple[type[BaseException], type[MediaError], str], ...] = (
    (aiohttp.ClientConnectorDNSError, MediaUnreachable, "has a name that cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, MediaUnreachable, "has a TLS certificate that cannot be verified"),
    (aiohttp.ClientSSLError, MediaUnreachable, "failed in the TLS handshake"),
    (aiohttp.ClientConnectorError, MediaUnreachable, "does not accept a connection"),
    (aiohttp.ServerTimeoutError, MediaUnreachable, "does not accept a connection"),
    (aiohttp.ServerConnectionError, MediaUnreachable, "closed the connection without a response"),
    (aiohttp.ClientConnectionError, MediaUnreachable, "closed the connection"),
    (aiohttp.ClientPayloadError, MediaUnreachable, "ended its response early"),
    (aiohttp.InvalidURL, MediaInvalid, "has a host that is not valid"),
    (aiohttp.ClientError, MediaUnreachable, "sent a response that is not HTTP"),
    (OSError, MediaUnreachable, "closed the connection"),
    (ValueError, MediaInvalid, "has a host that is not valid"),  # UnicodeError of a label that is too long
)


class Fetcher:
    """Downloads images from addresses that the policy allows. `start` on the event loop first, `aclose` last.

    This protects the network around the server: each address is checked when its socket is created, so that no
    spelling, DNS answer or redirect can avoid the check; a name is forbidden if any of its addresses is. Only idle
    connections are kept between requests, and their addresses were checked: no cookies, no DNS cache, no proxies.
    """

    def __init__(self, limits: MediaLimits, policy: AddressPolicy, *, lookup: Lookup | None = None) -> None:
        self._limits = limits
        self._policy = policy
        self._threads = ThreadPoolExecutor(limits.lookups, "lumi-lookup")
        self._lookup = lookup or self._system_lookup
        self._slots = asyncio.Semaphore(limits.fetches)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Load the certificates and open the connection pool."""
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(
            ssl=await loop.run_in_executor(self._threads, ssl.create_default_context),
            limit=self._limits.fetches,
            resolver=_CheckedResolver(self._lookup, self._policy),
            use_dns_cache=False,
            socket_factory=self._open_socket,
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
        """The image in the pieces in which it arrived: joining megabytes belongs in a thread.

        Raises MediaForbidden, MediaUnreachable, MediaTooLarge, or MediaInvalid.
        """
        async with self._slots:
            deadline = asyncio.timeout(self._limits.fetch_seconds)
            route = [ref]
            try:
                async with deadline:
                    return await self._follow(route)
            except MediaError:
                raise
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise self._translate(error, route, late=deadline.expired()) from error

    async def _follow(self, route: list[Remote]) -> list[bytes]:
        """The body at the end of `route`, to which each redirect is appended."""
        if self._session is None:
            raise RuntimeError("call Fetcher.start() before fetch()")
        while len(route) <= self._limits.redirects + 1:
            async with self._session.get(route[-1].url, allow_redirects=False) as response:
                location = response.headers.get("Location") if response.status in _REDIRECTS else None
                if location is None:
                    return await self._read_body(response, route)
            route.append(self._redirect_target(route[-1], location))
        start = route[0]
        raise MediaUnreachable(f"{start.origin} redirects more than {self._limits.redirects} times.", param=start.path)

    def _redirect_target(self, here: Remote, location: str) -> Remote:
        subject = "The image's URL redirects to one that cannot be used"
        try:
            there = Remote(parse_url(urljoin(str(here.url), location)), here.path)
        except ValueError as error:
            raise MediaForbidden(f"{subject}: {error}.", param=here.path) from error
        if here.url.scheme == "https" and there.url.scheme != "https":
            raise MediaForbidden(f"{subject}: it goes from https back to http.", param=here.path)
        check_host(there, self._policy, redirected=True)
        return there

    async def _read_body(self, response: aiohttp.ClientResponse, route: list[Remote]) -> list[bytes]:
        subject, path = _subject(route), route[0].path
        if not 200 <= response.status < 300:
            raise MediaUnreachable(f"{subject} answered HTTP {response.status}.", param=path)
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in _COMPRESSED:  # we asked for identity; inflating it would need a second limit
            raise MediaUnreachable(
                f"{subject} sent Content-Encoding {encoding}. Serve the image without it.", param=path
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

    def _translate(self, error: BaseException, route: list[Remote], *, late: bool) -> MediaError:
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

    def _open_socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """A socket for this address, checked here whatever was checked before."""
        family, kind, protocol, _, address = info
        if not self._policy.allows_address(str(address[0])):
            raise ForbiddenAddress("forbidden address")
        return socket.socket(family, kind, protocol)

    async def _system_lookup(self, host: str) -> Sequence[str]:
        def addresses() -> list[str]:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            return [str(address[0]) for *_, address in found]

        return await asyncio.get_running_loop().run_in_executor(self._threads, addresses)


class _CheckedResolver(AbstractResolver):
    """Rejects a name if any of its addresses is forbidden, before a connection to one of them is opened.

    A public name with a private address is an attack or a mistake; and with happy eyeballs, aiohttp would try the next
    address after a forbidden one.
    """

    def __init__(self, lookup: Lookup, policy: AddressPolicy) -> None:
        self._lookup = lookup
        self._policy = policy

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  # both families are always looked up
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host)
        if not all(self._policy.allows_address(address) for address in addresses):
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
    """The server at fault, for a message. The target of a redirect is not named: the client did not write it."""
    return route[0].origin if len(route) == 1 else f"{route[0].origin} redirects to a server that"


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
