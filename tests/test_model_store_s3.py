import asyncio
import functools
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from container.model_store.address import Address
from container.model_store.background import Stopped, until_stopped
from container.model_store.s3 import connection
from container.model_store.s3_download import download, small_file
from handler.errors import StartError
from tests.s3_server import MIB, Stored, s3_served, sparse

ROOT = Path(__file__).parent.parent
CREDENTIALS = {"aws_access_key_id": "who", "aws_secret_access_key": "secret"}
CONFIG = b'{"model_type": "llava"}'


@functools.cache
def noise(size, seed=0):
    generator = random.Random(seed)
    return b"".join(generator.randbytes(MIB) for _ in range(size // MIB))


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def fetch(url, address, cache, *, report=lambda _: None, stop=None, **named):
    connect = functools.partial(connection, endpoint_url=url, **CREDENTIALS)
    return download(Address.parse(address), cache, report, stop or threading.Event(), connect=connect, **named)


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto, request):
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1", **CREDENTIALS)
    name = "b" + hashlib.md5(request.node.name.encode()).hexdigest()
    client.create_bucket(Bucket=name)
    yield boto3.resource("s3", endpoint_url=moto, region_name="us-east-1", **CREDENTIALS).Bucket(name)
    client.close()


@pytest.fixture
def s3():
    with s3_served() as store:
        yield store


@pytest.fixture
def model(s3, tmp_path):
    """A model of one small and one large file, on the small server."""
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "weights").write_bytes(noise(40 * MIB))
    s3.put("m/config.json", tmp_path / "config.json")
    s3.put("m/model.safetensors", tmp_path / "weights", 8 * MIB)
    return s3


# What is there is what comes.


def test_files_of_every_kind_come_as_they_were(moto, bucket, tmp_path):
    stored = {
        "config.json": CONFIG,
        "empty.txt": b"",
        "code/inference.py": b"pass\n",
        "a b/ü+%20&.txt": b"odd name",
        "model.safetensors": noise(20 * MIB),
    }
    for name, data in stored.items():
        bucket.put_object(Key=f"models/llava/{name}", Body=data)
    bucket.put_object(Key="models/llava/folder/", Body=b"")
    bucket.put_object(Key="models/llava-2/config.json", Body=b"{}")
    found = fetch(moto, f"s3://{bucket.name}/models/llava/", tmp_path)
    assert contents(found) == stored


def test_what_was_uploaded_in_parts_is_verified(moto, bucket, tmp_path, caplog):
    data = noise(21 * MIB)
    bucket.put_object(Key="config.json", Body=CONFIG)
    upload = bucket.Object("model.bin").initiate_multipart_upload()
    size = 10 * MIB
    parts = [
        {"PartNumber": i + 1, "ETag": upload.Part(i + 1).upload(Body=data[i * size : (i + 1) * size])["ETag"]}
        for i in range(3)
    ]
    upload.complete(MultipartUpload={"Parts": parts})
    with caplog.at_level("INFO", logger="lumi.model"):
        found = fetch(moto, f"s3://{bucket.name}", tmp_path)
    assert (found / "model.bin").read_bytes() == data
    assert "2 files, verified" in caplog.text
    assert "by size alone" not in caplog.text


def test_more_files_than_a_page_lists(s3, tmp_path):
    source = tmp_path / "config.json"
    source.write_bytes(CONFIG)
    names = {"config.json", *(f"shards/{i:04}.json" for i in range(1200))}
    for name in names:
        s3.put(f"m/{name}", source)
    assert set(contents(fetch(s3.url, "s3://bucket/m", tmp_path / "cache"))) == names


def test_a_model_in_the_single_directory_below_is_found(model, tmp_path):
    assert fetch(model.url, "s3://bucket", tmp_path / "cache").name == "m"


def test_a_second_start_downloads_nothing(model, tmp_path):
    found = fetch(model.url, "s3://bucket/m", tmp_path / "cache")
    sent = model.sent
    assert fetch(model.url, "s3://bucket/m", tmp_path / "cache") == found
    assert model.sent == sent


def test_a_file_that_was_removed_meanwhile_comes_again(model, tmp_path):
    found = fetch(model.url, "s3://bucket/m", tmp_path / "cache")
    (found / "config.json").unlink()
    assert contents(fetch(model.url, "s3://bucket/m", tmp_path / "cache"))["config.json"] == CONFIG


def test_progress_is_reported(model, tmp_path):
    reports = []
    fetch(model.url, "s3://bucket/m", tmp_path / "cache", report=reports.append)
    assert reports[0] == "looking at s3://bucket/m"
    assert reports[-1].startswith("downloaded 42 of 42 MB, ")


# Faults on the way.


def test_what_breaks_off_is_asked_for_again(model, tmp_path):
    model.cut = 2
    assert (
        digest(fetch(model.url, "s3://bucket/m", tmp_path / "cache") / "model.safetensors")
        == hashlib.md5(noise(40 * MIB)).hexdigest()
    )
    assert model.cut == 0


def test_a_busy_server_is_asked_again_once_per_response(model, tmp_path):
    model.busy = 2
    assert fetch(model.url, "s3://bucket/m", tmp_path / "cache")
    assert len(model.asked) == 2 + 1 + 1 + 3  # busy, the list, config.json, and 40 MiB in ranges of 16


@pytest.mark.parametrize("part_bytes", [None, 8 * MIB, 13 * MIB, 36 * MIB])
def test_what_came_damaged_comes_again(s3, tmp_path, part_bytes):
    (tmp_path / "weights").write_bytes(noise(40 * MIB))
    s3.put("m/config.json", tmp_path / "weights", part_bytes)
    s3.damage = 1
    found = fetch(s3.url, "s3://bucket/m", tmp_path / "cache")
    assert (found / "config.json").read_bytes() == noise(40 * MIB)


def test_what_is_always_damaged_is_refused(model, tmp_path):
    model.damage = 99
    with pytest.raises(StartError, match="arrived damaged"):
        fetch(model.url, "s3://bucket/m", tmp_path / "cache")


def test_an_etag_that_is_no_md5_is_not_held_against_the_bytes(model, tmp_path, caplog):
    model.files["m/config.json"] = Stored(model.files["m/config.json"].path, f'"{"0" * 32}"')
    model.headers = {"x-amz-server-side-encryption": "aws:kms"}
    with caplog.at_level("INFO", logger="lumi.model"):
        assert fetch(model.url, "s3://bucket/m", tmp_path / "cache")
    assert "1 by size alone" in caplog.text


def test_an_object_that_changes_on_the_way_comes_anew(model, tmp_path):
    (tmp_path / "new").write_bytes(noise(40 * MIB, seed=1))

    def upload(line):  # between the listing and the first request for bytes
        if line.startswith("downloaded 0 "):
            model.put("m/model.safetensors", tmp_path / "new", 8 * MIB)

    found = fetch(model.url, "s3://bucket/m", tmp_path / "cache", report=upload)
    assert (found / "model.safetensors").read_bytes() == noise(40 * MIB, seed=1)


def test_another_content_replaces_the_one_before(model, tmp_path):
    old = fetch(model.url, "s3://bucket/m", tmp_path / "cache")
    (tmp_path / "config.json").write_bytes(b"{}")
    model.put("m/config.json", tmp_path / "config.json")
    new = fetch(model.url, "s3://bucket/m", tmp_path / "cache")
    assert (new / "config.json").read_bytes() == b"{}"
    assert not old.exists()


# Refused before anything is downloaded.


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://none", r"there is no such bucket \(NoSuchBucket\)"),
        ("s3://bucket/model", r"There is nothing below s3://bucket/model/; there is model-2. Correct"),
        ("s3://bucket/model-2/notes.txt", "notes.txt is one object"),
        ("s3://bucket/model-2", "it needs config.json or params.json, but there is code/, notes.txt. code/ is the"),
        ("s3://bucket/model.tar.gz", r"there is no such object \(NoSuchKey\)"),
    ],
)
def test_a_model_that_is_not_there_is_refused_in_words(s3, tmp_path, address, words):
    source = sparse(tmp_path / "x", 3)
    for key in ("model-2/notes.txt", "model-2/code/config.json"):
        s3.put(key, source)
    with pytest.raises(StartError, match=words):
        fetch(s3.url, address, tmp_path / "cache")
    assert s3.sent == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((403, "AccessDenied"), "access is denied .* needs s3:ListBucket"),
        ((403, "InvalidAccessKeyId"), "set AWS_ACCESS_KEY_ID"),
        ((400, "ExpiredToken"), "have expired"),
        ((400, "AuthorizationHeaderMalformed"), "set AWS_REGION"),
        ((400, "Novelty"), r"S3 responds with Novelty \(no\)"),
    ],
)
@pytest.mark.parametrize("address", ["s3://bucket/m", "s3://bucket/m.tar.gz"])
def test_a_refusal_of_s3_is_explained(s3, tmp_path, answer, words, address):
    s3.refuse = answer
    with pytest.raises(StartError, match=words):
        fetch(s3.url, address, tmp_path)


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StartError, match=r"S3 does not respond .*127.0.0.1:9.*AWS_ENDPOINT_URL"):
        fetch("http://127.0.0.1:9", "s3://bucket/m", tmp_path)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/passwd", "a//b", "./a"])
def test_a_name_that_would_leave_the_directory_is_refused(s3, tmp_path, name):
    source = sparse(tmp_path / "x", 3)
    s3.put("m/config.json", source)
    s3.put(f"m/{name}", source)
    with pytest.raises(StartError, match="rename or remove"):
        fetch(s3.url, "s3://bucket/m", tmp_path / "cache")


def test_a_disk_that_is_too_small_is_refused_with_both_sizes(model, tmp_path):
    with pytest.raises(StartError, match=r"needs 42 MB more in .*, but only 40 MB are free"):
        fetch(model.url, "s3://bucket/m", tmp_path / "cache", free=lambda _: 40_000_000)
    assert model.sent == 0


def test_a_cache_that_cannot_be_written_is_refused(model, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StartError, match="cannot be stored in"):
        fetch(model.url, "s3://bucket/m", tmp_path / "cache")


def test_a_file_that_cannot_be_written_is_refused(model, tmp_path):
    cache = tmp_path / "cache"
    home = cache / Address.parse("s3://bucket/m").directory
    home.mkdir(parents=True)
    (home / "unfinished").write_text("a file where a directory should be")
    with pytest.raises(StartError, match=r"cannot be written to .*unfinished.*; check the disk"):
        fetch(model.url, "s3://bucket/m", cache)


def test_a_download_that_nobody_waits_for_ends(model, tmp_path):
    model.pace = 0.01
    ended = threading.Event()

    def work(stop):
        try:
            fetch(model.url, "s3://bucket/m", tmp_path / "cache", stop=stop)
        except Stopped:
            ended.set()

    async def given_up():
        task = asyncio.create_task(until_stopped(work))
        await asyncio.to_thread(until, lambda: model.sent)
        task.cancel()
        await asyncio.wait((task,))
        return task.cancelled()

    assert asyncio.run(given_up())
    assert ended.wait(30)


# One small file, before anything is downloaded.


def beside(url, address):
    connect = functools.partial(connection, endpoint_url=url, **CREDENTIALS)
    return small_file(Address.parse(address), "serving.properties", connect=connect)


def test_a_small_file_beside_a_model_is_read_alone(moto, bucket):
    bucket.put_object(Key="m/serving.properties", Body=b"option.dtype=bf16")
    bucket.put_object(Key="empty/serving.properties", Body=b"")
    assert beside(moto, f"s3://{bucket.name}/m/") == b"option.dtype=bf16"
    assert beside(moto, f"s3://{bucket.name}/empty") == b""
    assert beside(moto, f"s3://{bucket.name}") is None


def test_a_small_file_may_be_in_the_only_directory_below_the_prefix(s3, tmp_path):
    (tmp_path / "file").write_bytes(b"option.dtype=bf16")
    for key in ("m/llava/serving.properties", "m/llava/config.json", "m/code/serving.properties", "m/notes.txt"):
        s3.put(key, tmp_path / "file")
    assert beside(s3.url, "s3://bucket/m") == b"option.dtype=bf16"
    s3.put("m/other/config.json", tmp_path / "file")
    assert beside(s3.url, "s3://bucket/m") is None


def test_a_small_file_of_a_directory_in_a_model_is_not_its_own(s3, tmp_path):
    (tmp_path / "file").write_bytes(b"option.dtype=bf16")
    for key in ("m/config.json", "m/draft/serving.properties"):
        s3.put(key, tmp_path / "file")
    assert beside(s3.url, "s3://bucket/m") is None


def test_a_small_file_that_is_large_is_read_in_part(s3, tmp_path):
    s3.put("m/serving.properties", sparse(tmp_path / "x", 40 * MIB))
    assert len(beside(s3.url, "s3://bucket/m")) == 2 * MIB


def test_no_small_file_is_looked_for_in_an_archive(s3):
    assert beside(s3.url, "s3://bucket/m.tar.gz") is None
    assert s3.asked == []


def test_a_refusal_of_a_small_file_is_explained(s3):
    with pytest.raises(StartError, match=r"s3://none/m/serving.properties cannot be read: there is no such bucket"):
        beside(s3.url, "s3://none/m")
    s3.refuse = (403, "AccessDenied")
    with pytest.raises(StartError, match="access is denied"):
        beside(s3.url, "s3://bucket/m")


# In a process of its own, with what boto3 reads from the environment.

SCRIPT = """
import asyncio, logging, re, sys
from pathlib import Path
from container.model_store import fetch, locate
from handler.errors import StartError
logging.basicConfig(level=logging.WARNING)
try:
    print(asyncio.run(fetch(locate(sys.argv[1]), print, cache=Path(sys.argv[2]))))
except StartError as error:
    sys.exit(str(error))
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def start(url, cache, address="s3://bucket/m", **environ):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "secret"}
    nowhere = {"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none", "AWS_EC2_METADATA_DISABLED": "true"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, address, str(cache)],
        cwd=ROOT,
        env={**kept, **nowhere, "AWS_ENDPOINT_URL": url, **(environ or keys)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition):
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def complete_files(cache):
    """Those that a start has downloaded and verified, but for the small config.json."""
    return list(cache.glob("*/unfinished/*/*.safetensors"))


def test_no_credentials_are_explained(model, tmp_path):
    _, errors = start(model.url, tmp_path / "cache", AWS_PAGER="").communicate(timeout=60)
    assert "no credentials were found" in errors
    assert "set AWS_ACCESS_KEY_ID" in errors


def test_gigabytes_take_no_memory_and_come_once(s3, tmp_path):
    size = 5 * 2**28
    s3.put("m/config.json", sparse(tmp_path / "config.json", 100))
    for i in range(10):
        s3.put(f"m/model-{i}.safetensors", sparse(tmp_path / "weights", size // 10), 8 * MIB)
    process = start(s3.url, tmp_path / "cache")
    until(lambda: len(complete_files(tmp_path / "cache")) >= 4)
    process.kill()
    process.communicate(timeout=30)
    s3.sent = 0
    out, errors = start(s3.url, tmp_path / "cache").communicate(timeout=120)
    *_, found, mebibytes = out.split()
    assert (Path(found) / "model-9.safetensors").stat().st_size == size // 10, errors
    assert s3.sent < size * 3 // 4
    assert int(mebibytes) < 300


def test_a_start_that_was_killed_is_taken_up(s3, tmp_path):
    data = noise(50 * MIB)
    (tmp_path / "weights").write_bytes(data)
    s3.put("m/config.json", sparse(tmp_path / "config.json", 100))
    names = [f"model-{i}.safetensors" for i in range(6)]
    for name in names:
        s3.put(f"m/{name}", tmp_path / "weights", 8 * MIB)
    s3.pace = 0.005
    process = start(s3.url, tmp_path / "cache")
    until(lambda: len(complete_files(tmp_path / "cache")) >= 3)
    process.kill()
    process.communicate(timeout=30)
    assert not list((tmp_path / "cache").glob("*/model-*"))
    s3.sent, s3.pace = 0, 0
    out, errors = start(s3.url, tmp_path / "cache").communicate(timeout=60)
    assert all((Path(out.split()[-2]) / name).read_bytes() == data for name in names), errors
    assert s3.sent < 200 * MIB


def test_a_file_that_changed_between_two_starts_comes_anew(model, tmp_path):
    stop = threading.Event()
    model.pace = 0.002
    threading.Thread(target=lambda: (until(lambda: model.sent > 10 * MIB), stop.set())).start()
    with pytest.raises(Stopped):
        fetch(model.url, "s3://bucket/m", tmp_path / "cache", stop=stop)
    (tmp_path / "weights").write_bytes(noise(40 * MIB, seed=2))
    model.put("m/model.safetensors", tmp_path / "weights", 8 * MIB)
    model.pace = 0
    found = fetch(model.url, "s3://bucket/m", tmp_path / "cache")
    assert (found / "model.safetensors").read_bytes() == noise(40 * MIB, seed=2)


def test_two_starts_on_one_disk_download_once(model, tmp_path):
    processes = [start(model.url, tmp_path / "cache") for _ in range(3)]
    found = {process.communicate(timeout=60)[0].split()[-2] for process in processes}
    assert len(found) == 1
    assert model.sent == 40 * MIB + len(CONFIG)
