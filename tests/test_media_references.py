import base64
import subprocess
import sys
from typing import Any

import pytest

from handler.errors import MediaError, MediaForbidden, MediaInvalid, MediaTooLarge
from handler.media.addresses import AddressPolicy
from handler.media.limits import MediaLimits
from handler.media.references import Inline, Remote, parse_reference
from handler.payload.parts import ImagePart
from tests.media_server import encode, gradient

PATH = "messages[0].content[1].image_url.url"
PNG = encode(gradient())
BASE64 = base64.b64encode(PNG).decode()


def refer(url: str, **limits: Any) -> Inline | Remote:
    bounds = MediaLimits(**limits)
    return parse_reference(ImagePart(url, PATH), bounds, AddressPolicy(bounds))


def refused(url: str, kind: type[MediaError] = MediaInvalid, **limits: Any) -> str:
    with pytest.raises(kind) as caught:
        refer(url, **limits)
    assert type(caught.value) is kind
    assert caught.value.param == PATH
    return str(caught.value)


@pytest.mark.parametrize(
    "prefix",
    [
        "data:image/png;base64,",
        "data:;base64,",
        "DATA:Image/PNG;BASE64,",
        "data:image/png;charset=x;base64,",
        "data:application/octet-stream;base64,",
    ],
)
def test_data_urls_decode_to_their_bytes_whatever_type_they_claim(prefix: str):
    ref = refer(prefix + BASE64)
    assert isinstance(ref, Inline)
    assert ref.decode() == PNG
    assert len(PNG) <= ref.size <= len(PNG) + 2


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_base64_without_a_prefix_is_recognised_by_how_the_image_begins(format_: str):
    image = encode(gradient(), format_)
    assert refer(base64.b64encode(image).decode()).decode() == image


@pytest.mark.parametrize(
    "spelling",
    [
        base64.encodebytes(PNG).decode(),
        BASE64 + "\n",
        BASE64.rstrip("="),
        BASE64.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
        base64.urlsafe_b64encode(PNG).decode(),
    ],
    ids=["wrapped lines", "trailing newline", "no padding", "percent-escaped", "url-safe alphabet"],
)
def test_harmless_mistakes_in_base64_are_accepted(spelling: str):
    assert refer("data:image/png;base64," + spelling).decode() == PNG


@pytest.mark.parametrize("text", ["!!!!", "abcde", "äöü", "AAAA====AAAA", "<svg/>", "A"])
def test_what_is_not_base64_is_an_error_with_the_path(text: str):
    with pytest.raises(MediaInvalid, match="not valid base64") as caught:
        refer("data:image/png;base64," + text).decode()
    assert caught.value.param == PATH


@pytest.mark.parametrize("unit", ["%41", "A ", "%2B%20"])
def test_decoding_takes_memory_of_the_order_of_the_text(unit: str):
    """Measured in a process of its own, as the peak of a process never falls."""
    code = f"""
import contextlib, resource
from tests.test_media_references import MediaInvalid, refer

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

image = refer("data:;base64," + {unit!r} * (26 * 2**20 // {len(unit)}))
before = peak()
with contextlib.suppress(MediaInvalid):
    image.decode()
print(peak() - before)
"""
    kilobytes = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert kilobytes < 200 * 1024


def test_data_urls_that_are_malformed_say_how_to_write_one():
    assert "no comma" in refused("data:image/png;base64" + "A" * 1000)
    assert "not say that it is base64" in refused("data:image/svg+xml,<svg/>")
    assert "is empty" in refused("data:image/png;base64,")


def test_too_many_bytes_are_rejected_by_the_length_of_the_text():
    assert refer("data:;base64," + BASE64, image_bytes=len(PNG))
    message = refused("data:;base64," + BASE64, MediaTooLarge, image_bytes=10)
    assert "10 bytes" in message
    assert "OPTION_MEDIA_MAX_PICTURE_BYTES" in message


@pytest.mark.parametrize("scheme", ["s3", "file", "ftp", "gopher", "javascript", "blob", "unix"])
def test_other_schemes_are_named_and_the_accepted_ones_listed(scheme: str):
    message = refused(f"{scheme.upper()}://bucket/key.png")
    assert f"The scheme {scheme!r} of the image's URL is not supported. Accepted are https://" in message


def test_an_s3_url_is_answered_with_the_hint_to_presign_it():
    assert "presigned" in refused("s3://bucket/key.png")


@pytest.mark.parametrize("url", ["", "  ", "\n"])
def test_an_empty_url_is_an_error(url: str):
    assert "empty" in refused(url)


@pytest.mark.parametrize("url", ["image.png", "/etc/passwd", "//example.com/a.png", "hello world", "iVBOR"])
def test_what_is_neither_url_nor_base64_is_an_error(url: str):
    assert "neither a URL nor" in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://good.example@127.0.0.1/",
        "http://user:secret@good.example/",
        "https://:@good.example/",
        "http://127.0.0.1%2f@good.example/",
        "http://good.example\\@127.0.0.1/",
        "http://good.example:80\\@127.0.0.1/",
        "http:\\\\good.example/",
        "http://good.example/a\\b",
        "http://good.example/a b",
        "http://good.example/\r\nHost: evil",
        "http://good\t.example/",
        "http://good%2eexample/",
        "http://localhost%00.example/",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://good.example:99999/",
        "http://good.example:x/",
        "http://",
        "http:///path",
        "http:path",
        "https://?q",
        "http://[v1.x]/" + "a" * 9000,
    ],
)
def test_urls_that_parsers_read_differently_are_rejected_and_not_repeated(url: str):
    message = refused(url)
    assert "secret" not in message
    assert "@" not in message


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("HTTPS://Images.EXAMPLE/a.png", "images.example"),
        ("http://127.0.0.1#@good.example/", "127.0.0.1"),
        ("http://127.0.0.1?@good.example/", "127.0.0.1"),
        ("http://127.0.0.1/@good.example/", "127.0.0.1"),
        ("http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "127.0.0.1"),
        ("http://127\u30020\u30020\u30021/", "127.0.0.1"),
        ("http://\u24dbocalhost/", "localhost"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("  https://images.example/a.png\n", "images.example"),
        ("https://images.example:8443/a.png", "images.example"),
    ],
)
def test_the_host_is_the_one_that_will_be_connected_to(url: str, host: str):
    ref = refer(url)
    assert isinstance(ref, Remote)
    assert ref.url.raw_host == host


def test_a_signed_query_stays_as_it_is_written():
    url = "https://images.example/a%2Fb.png?X-Amz-Credential=A%2FB%2Fs3&X-Amz-Signature=%7eabc"
    assert str(refer(url).url) == url


def test_messages_may_name_the_origin_but_not_the_rest_of_a_url():
    ref = refer("https://images.example:8443/secret?token=secret")
    assert ref.origin == "https://images.example:8443"
    assert "secret" not in repr(ref)


def test_hosts_that_the_operator_does_not_list_are_forbidden():
    hosts = ("images.example",)
    assert refer("https://IMAGES.example./a.png", allowed_hosts=hosts)
    assert "OPTION_ALLOWED_MEDIA_DOMAINS" in refused("https://evil.example/a", MediaForbidden, allowed_hosts=hosts)
    assert refused("https://images.example.evil.test/a", MediaForbidden, allowed_hosts=hosts)
    assert refused("https://127.0.0.1#images.example", MediaForbidden, allowed_hosts=hosts)
