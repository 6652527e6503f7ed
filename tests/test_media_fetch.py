import asyncio
import datetime as dt
import gzip
import ipaddress
import re
import socket
import ssl
from collections.abc import Coroutine
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import client_exceptions, web

from handler.errors import MediaError, MediaForbidden, MediaInvalid, MediaTooLarge, MediaUnreachable
from handler.media import fetch as fetch_module
from handler.media.addresses import AddressPolicy
from handler.media.fetch import Fetcher
from handler.media.limits import MediaLimits
from handler.media.references import parse_reference
from handler.payload.parts import ImagePart
from tests.media_server import body, encode, gradient, media_server, never, raw_server, redirect

PATH = "messages[0].content[1].image_url.url"
PNG = encode(gradient())
LOOPBACK = (ip_network("127.0.0.1/32"),)  # what tests may contact; 127.0.0.2 stands for what a server may not


class Fetching:
    """A started Fetcher that takes URLs."""

    def __init__(self, *, lookup: Any = None, **limits: Any) -> None:
        self.limits = MediaLimits(**{"allowed_networks": LOOPBACK, **limits})
        self.policy = AddressPolicy(self.limits)
        self.fetcher = Fetcher(self.limits, self.policy, lookup=lookup)

    async def __aenter__(self) -> Self:
        await self.fetcher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fetcher.aclose()

    async def get(self, url: str) -> bytes:
        return b"".join(await self.fetcher.fetch(parse_reference(ImagePart(url, PATH), self.limits, self.policy)))


async def get(url: str, **options: Any) -> bytes:
    async with Fetching(**options) as fetching:
        return await fetching.get(url)


async def fetch_error(url: str, kind: type[MediaError], **options: Any) -> str:
    with pytest.raises(MediaError) as caught:
        await get(url, **options)
    assert type(caught.value) is kind, caught.value
    assert caught.value.param == PATH
    return str(caught.value)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def names(**table: list[str]):
    async def lookup(host: str) -> list[str]:
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return table[host]

    return lookup


# What is fetched


def test_an_image_arrives_and_the_request_has_few_headers():
    async def test() -> None:
        async with media_server({"/a.png": body(PNG)}) as (base, seen):
            assert await get(f"{base}/a.png?q=1") == PNG
            assert {name: seen[0].headers[name] for name in seen[0].headers} == {
                "Host": base.removeprefix("http://"),
                "User-Agent": "lumi",
                "Accept": "image/*",
                "Accept-Encoding": "identity",
            }

    run(test())


def test_a_signed_url_arrives_as_it_was_written():
    async def test() -> None:
        async with media_server({"/a/b.png": body(PNG)}) as (base, seen):
            await get(f"{base}/a%2Fb.png?X-Credential=A%2FB&sig=%7e")
            assert seen[0].raw_path == "/a%2Fb.png?X-Credential=A%2FB&sig=%7e"

    run(test())


def test_redirects_are_followed_to_the_limit_without_cookies_or_referer():
    async def with_cookie(request: web.Request) -> web.Response:
        response = web.Response(status=301, headers={"Location": "2"})
        response.set_cookie("session", "secret")
        return response

    async def test() -> None:
        routes = {"/1": with_cookie, "/2": redirect("/3", 308), "/4": body(PNG)}
        async with media_server(routes) as (base, seen):
            routes["/3"] = redirect(f"{base}/4", 303)
            assert await get(f"{base}/1") == PNG
            assert [request.path for request in seen] == ["/1", "/2", "/3", "/4"]
            assert not any({"Cookie", "Referer"} & set(request.headers) for request in seen)
            assert "redirects more than 2 times" in await fetch_error(f"{base}/1", MediaUnreachable, redirects=2)

    run(test())


def test_a_redirect_loop_ends():
    async def test() -> None:
        async with media_server({"/a": redirect("/b"), "/b": redirect("/a")}) as (base, seen):
            assert "redirects more than 3 times" in await fetch_error(f"{base}/a", MediaUnreachable)
            assert len(seen) == 4

    run(test())


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    async def test() -> None:
        async with media_server({"/": body(PNG)}) as (base, _):
            assert await get(f"{base}/") == PNG

    run(test())


# Where it may come from


def spellings(port: int) -> list[str]:
    hosts = ["127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001"]
    hosts += ["0177.0.0.1", "127.0.0.01", "127.000.000.001", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"]
    hosts += ["[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost", "LOCALHOST."]
    hosts += [
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "\u24dbocalhost",
        "good.test@127.0.0.1",
        "good.test:x@127.0.0.1",
    ]
    hosts += ["169.254.169.254", "[fd00:ec2::254]", "[fe80::1%25lo]", "127.0.0.1%2f"]
    urls = [f"http://{host}:{port}/" for host in hosts]
    tricks = [
        "#@good.test/",
        "?@good.test/",
        "/@good.test",
        "\\@good.test/",
        "#good.test",
        "%23@good.test",
        "%00.good.test",
    ]
    return urls + [f"http://127.0.0.1:{port}{trick}" for trick in tricks] + [f"http://good.test\\@127.0.0.1:{port}/"]


def test_no_spelling_of_loopback_or_metadata_is_contacted():
    async def as_the_system_would(host: str) -> list[str]:
        if host.rstrip(".") == "localhost":
            return ["127.0.0.1"]
        try:
            return [socket.inet_ntoa(socket.inet_aton(host))]
        except OSError:
            raise socket.gaierror(socket.EAI_NONAME, "unknown") from None

    async def test() -> None:
        async with (
            media_server({"/": body(PNG)}) as (base, seen),
            Fetching(allowed_networks=(), lookup=as_the_system_would) as fetching,
        ):
            for url in spellings(int(base.rpartition(":")[2])):
                with pytest.raises((MediaForbidden, MediaInvalid)):
                    await fetching.get(url)
            assert seen == []

    run(test())


def test_the_systems_own_lookup_is_checked_too():
    async def test() -> None:
        async with media_server({"/": body(PNG)}) as (base, seen):
            port = base.rpartition(":")[2]
            await fetch_error(f"http://localhost:{port}/", MediaForbidden, allowed_networks=())
            assert await get(f"http://localhost:{port}/", allowed_networks=(*LOOPBACK, ip_network("::1"))) == PNG
            assert len(seen) == 1

    run(test())


def test_a_redirect_to_a_forbidden_address_is_not_followed():
    async def test() -> None:
        async with media_server({"/": body(PNG)}, host="127.0.0.2") as (inside, seen):
            for target in (inside, inside.removeprefix("http:"), inside.replace("127.0.0.2", "0x7f.2")):
                async with media_server({"/a": redirect(f"{target}/")}) as (base, _):
                    with pytest.raises((MediaForbidden, MediaInvalid)) as caught:
                        await get(f"{base}/a")
                    assert "127.0.0.2" not in str(caught.value)
            assert seen == []

    run(test())


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://127.0.0.1/", "data:image/png;base64,AAAA", "//u:p@127.0.0.1/", "/\\x", "a b"],
)
def test_the_target_of_a_redirect_follows_the_rules_of_a_url(target: str):
    async def test() -> None:
        async with media_server({"/a": redirect(target)}) as (base, seen):
            message = await fetch_error(f"{base}/a", MediaForbidden)
            assert "redirects to one that cannot be used" in message
            assert len(seen) == 1

    run(test())


def test_a_name_with_a_forbidden_address_is_rejected_before_a_connection():
    async def test() -> None:
        async with media_server({"/": body(PNG)}) as (base, seen):
            url = f"http://mixed.test:{base.rpartition(':')[2]}/"
            for addresses in (["127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "fd00:ec2::254"]):
                lookup = names(**{"mixed.test": addresses})
                message = await fetch_error(url, MediaForbidden, lookup=lookup)
                assert "OPTION_MEDIA_ALLOWED_NETWORKS" in message
                assert not re.search(r"127\.|fd00", message)
            assert seen == []
            assert await get(url, lookup=names(**{"mixed.test": ["127.0.0.1"]})) == PNG

    run(test())


def test_a_name_that_changes_its_address_between_requests_is_checked_again():
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def rebinding(host: str) -> list[str]:
        return answers.pop(0)

    async def test() -> None:
        async with (
            media_server({"/": body(PNG, Connection="close")}) as (base, seen),
            Fetching(lookup=rebinding) as fetching,
        ):
            url = f"http://rebind.test:{base.rpartition(':')[2]}/"
            assert await fetching.get(url) == PNG
            with pytest.raises(MediaForbidden):
                await fetching.get(url)
            assert len(seen) == 1
            assert answers == []  # one lookup a connection: what was checked is what was dialled

    run(test())


def test_only_the_operators_hosts_are_contacted_also_by_redirect():
    async def test() -> None:
        lookup = names(**{"good.test": ["127.0.0.1"], "evil.test": ["127.0.0.1"]})
        async with media_server({"/a": body(PNG)}) as (base, seen):
            port = base.rpartition(":")[2]
            options = {"lookup": lookup, "allowed_hosts": ("good.test",)}
            assert await get(f"http://GOOD.test:{port}/a", **options) == PNG
            async with media_server({"/a": redirect(f"http://evil.test:{port}/a")}) as (good, _):
                url = f"http://good.test:{good.rpartition(':')[2]}/a"
                assert "redirects to a host" in await fetch_error(url, MediaForbidden, **options)
            assert len(seen) == 1

    run(test())


# What goes wrong


@pytest.mark.parametrize("status", [304, 400, 403, 404, 500, 503])
def test_a_status_without_an_image_is_named(status: int):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async def test() -> None:
        async with media_server({"/a": answer}) as (base, _):
            assert f"{base} answered HTTP {status}" in await fetch_error(f"{base}/a?token=secret", MediaUnreachable)

    run(test())


def test_a_body_over_the_limit_is_rejected_by_its_content_length():
    async def test() -> None:
        async with media_server({"/": body(bytes(1001))}) as (base, _):
            assert "1,000 bytes" in await fetch_error(base, MediaTooLarge, image_bytes=1000)
            assert len(await get(base, image_bytes=1001)) == 1001

    run(test())


def test_a_body_without_a_length_is_cut_off_at_the_limit():
    hung_up = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(65536))
        finally:
            hung_up.set()

    async def test() -> None:
        async with media_server({"/": endless}) as (base, _):
            await fetch_error(base, MediaTooLarge, image_bytes=200_000)
            await asyncio.wait_for(hung_up.wait(), 10)

    run(test())


def test_a_compressed_body_is_rejected_and_not_decompressed():
    async def test() -> None:
        bomb = gzip.compress(bytes(50_000_000))
        async with media_server({"/": body(bomb, **{"Content-Encoding": "gzip"})}) as (base, _):
            assert "Content-Encoding gzip" in await fetch_error(base, MediaUnreachable)
        async with media_server({"/": body(PNG, **{"Content-Encoding": "aws-chunked"})}) as (base, _):
            assert await get(base) == PNG  # what object stores leave on plain bytes

    run(test())


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this", "ended its response early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nonly this", "ended its response early"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "a response that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "a response that is not HTTP"),
        (b"", "closed the connection"),
    ],
)
def test_a_broken_response_is_unreachable(answer: bytes, sentence: str):
    async def test() -> None:
        async with raw_server(answer) as base:
            assert sentence in await fetch_error(base, MediaUnreachable)

    run(test())


def test_one_deadline_covers_lookup_redirects_and_a_slow_body():
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    async def hanging(host: str) -> list[str]:
        await asyncio.sleep(3600)
        return []

    async def test() -> None:
        async with media_server({"/": never, "/drip": drip, "/there": redirect("/drip")}) as (base, _):
            for url in (base, f"{base}/drip", f"{base}/there"):
                message = await fetch_error(url, MediaUnreachable, fetch_seconds=0.25)
                assert "within 0.25 s" in message
                assert "OPTION_IMAGE_FETCH_TIMEOUT" in message
        await fetch_error("http://slow.test/", MediaUnreachable, fetch_seconds=0.2, lookup=hanging)
        message = await fetch_error("http://slow.test/", MediaUnreachable, connect_seconds=0.2, lookup=hanging)
        assert message == "http://slow.test does not accept a connection."

    run(test())


def test_a_closed_port_and_an_unknown_name_are_unreachable():
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as placeholder:
            port = placeholder.getsockname()[1]
        assert "does not accept a connection" in await fetch_error(f"http://127.0.0.1:{port}/", MediaUnreachable)
        assert "cannot be resolved" in await fetch_error("http://nowhere.test/", MediaUnreachable, lookup=names())
        assert "cannot be resolved" in await fetch_error(
            "http://a.test/", MediaUnreachable, lookup=names(**{"a.test": []})
        )
        await fetch_error(f"http://{'a' * 64}.test/", MediaInvalid)  # longer than a DNS label may be
        for target, sentence in ((f"http://127.0.0.1:{port}/", "accept a connection"), ("/x", "answered HTTP 404")):
            async with media_server({"/": redirect(target)}) as (base, _):
                message = await fetch_error(base, MediaUnreachable)
                assert message.startswith(f"{base} redirects to a server that ")
                assert sentence in message
                assert str(port) not in message

    run(test())


def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    built = built.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    pem = built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(pem)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context, str(tmp_path / "cert.pem")


def test_https_is_verified_and_does_not_redirect_to_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tls, trusted = certificate(tmp_path)

    async def test() -> None:
        async with media_server({"/": body(PNG)}) as (plain, seen):
            async with media_server({"/": body(PNG), "/down": redirect(plain)}, tls=tls) as (base, _):
                assert "TLS certificate" in await fetch_error(base, MediaUnreachable)
                monkeypatch.setenv("SSL_CERT_FILE", trusted)
                assert await get(base) == PNG
                assert "from https back to http" in await fetch_error(f"{base}/down", MediaForbidden)
                assert "TLS handshake" in await fetch_error(plain.replace("http:", "https:"), MediaUnreachable)
            assert seen == []

    run(test())


def test_the_number_of_fetches_at_once_is_limited():
    running, peak = 0, 0

    async def counting(request: web.Request) -> web.Response:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.02)
        running -= 1
        return web.Response(body=PNG)

    async def test() -> None:
        async with media_server({"/": counting}) as (base, seen), Fetching(fetches=3) as fetching:
            await asyncio.gather(*(fetching.get(f"{base}/") for _ in range(10)))
            assert len(seen) == 10
            assert peak == 3

    run(test())


# Row of the table -> what it translates of aiohttp's exceptions and of those that may pass through aiohttp.
TRANSLATED = {
    "ClientConnectorDNSError": "ClientConnectorDNSError",
    "ClientConnectorCertificateError": "ClientConnectorCertificateError",
    "ClientSSLError": "ClientSSLError ClientConnectorSSLError",
    "ClientConnectorError": "ClientConnectorError ClientProxyConnectionError UnixClientConnectorError",
    "ServerTimeoutError": "ServerTimeoutError ConnectionTimeoutError SocketTimeoutError",
    "ServerConnectionError": "ServerConnectionError ServerDisconnectedError ServerFingerprintMismatch",
    "ClientConnectionError": "ClientConnectionError ClientConnectionResetError ClientOSError",
    "ClientPayloadError": "ClientPayloadError",
    "InvalidURL": "InvalidURL InvalidUrlClientError InvalidUrlRedirectClientError",
    # Of these only the first two happen to a client that sends no body, follows redirects itself and checks URLs before.
    "ClientError": "ClientError ClientResponseError ClientHttpProxyError ContentTypeError NonHttpUrlClientError "
    "NonHttpUrlRedirectClientError RedirectClientError TooManyRedirects UploadAbortedError WSServerHandshakeError",
    "OSError": "OSError BrokenPipeError ConnectionResetError TimeoutError",
    "ValueError": "ValueError UnicodeError",
}


def test_each_row_of_the_table_of_faults_translates_its_own_exceptions():
    of_aiohttp = {kind for kind in vars(client_exceptions).values() if isinstance(kind, type)}
    kinds = {kind for kind in of_aiohttp if issubclass(kind, aiohttp.ClientError)}
    kinds |= {OSError, BrokenPipeError, ConnectionResetError, TimeoutError, ValueError, UnicodeError}
    rows = [foreign for foreign, _, _ in fetch_module._FAULTS]
    translated: dict[str, set[str]] = {row.__name__: set() for row in rows}
    for kind in kinds:
        translated[next(row for row in rows if issubclass(kind, row)).__name__].add(kind.__name__)
    assert translated == {row: set(exceptions.split()) for row, exceptions in TRANSLATED.items()}
