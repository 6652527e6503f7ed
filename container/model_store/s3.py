"""A bucket on S3, through boto3 -> its objects and their bytes. Errors leave here as StartError or ObjectChanged.

Only this module retries, boto3 does not: boto3 cannot resume a body that breaks off, and its waits cannot be cancelled.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from container.model_store import s3_errors
from container.model_store.address import Address
from handler.errors import StartError

log = logging.getLogger("lumi.model")
T = TypeVar("T")

CHUNK_BYTES = 512 * 2**10
SMALL_BYTES = 2 * 2**20
CONNECT_SECONDS, READ_SECONDS = 10, 60
ATTEMPTS = 6  # to read on without a byte; the waits between them double from one second
_WAITS = (0.5, 1.0)  # seconds between the attempts of a short request
# Where nothing names a region: S3 responds with the bucket's, and boto3 follows.
REGION = "us-east-1"
_MAX_SUGGESTIONS = 5


class _Interrupted(Exception):
    """The connection failed; another attempt may succeed."""


class ObjectChanged(Exception):
    """The object is no longer the one of the listing."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An object as it was listed; `name` is the relative path of the file that it becomes."""

    key: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Stored:
    """How an object is stored: the size of its parts, if S3 reports it, and whether its ETag is made of MD5s."""

    part_bytes: int | None
    hashed: bool


def connection(threads: int, **overrides: str) -> Any:
    """A client of S3 for so many threads, configured by the AWS_* variables and files unless `overrides` say otherwise."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=threads,
        retries={"mode": "standard", "total_max_attempts": 1},
        response_checksum_validation="when_required",  # the ETag is checked instead, of ranges too
        tcp_keepalive=True,
    )
    session = boto3.session.Session()
    return session.client("s3", region_name=session.region_name or REGION, config=config, **overrides)


class Bucket:
    """The bucket of `address`, by the client that `connect` makes. Thread-safe, as boto3's clients are."""

    def __init__(self, address: Address, connect: Callable[[], Any]) -> None:
        self._address = address
        with self._translate_errors("be read"):
            self._client = connect()

    def close(self) -> None:
        self._client.close()

    def objects(self) -> tuple[Remote, ...]:
        """The objects of the model. Raises StartError if there is none, or if a name would leave the directory."""
        return (self._archive(),) if self._address.is_archive else self._below_prefix()

    def read(self, remote: Remote, start: int, length: int, wait: Callable[[float], None]) -> Iterator[bytes]:
        """`length` bytes of it from `start`; where a connection breaks, the next one goes on. `wait` sleeps, and may raise.

        Raises ObjectChanged, or StartError after ATTEMPTS without a byte."""
        end, failures = start + length, 0
        while True:
            try:
                for chunk in self._read_once(remote, start, end - start):
                    yield chunk
                    start, failures = start + len(chunk), 0
            except _Interrupted as error:
                failures += 1
                if failures == ATTEMPTS:
                    raise StartError(
                        f"The model's file {remote.name} could not be downloaded in {ATTEMPTS} attempts: {error}. Start "
                        "again; complete files are not downloaded again."
                    ) from error
                log.warning("%s from byte %d: %s; trying again", remote.name, start, error)
                wait(2 ** (failures - 1))
            else:
                return

    def _read_once(self, remote: Remote, start: int, length: int) -> Iterator[bytes]:
        options: dict[str, Any] = {"IfMatch": remote.etag}
        if (start, length) != (0, remote.size):
            options["Range"] = f"bytes={start}-{start + length - 1}"
        with self._translate_errors("be downloaded", remote.key):
            try:
                response = self._client.get_object(Bucket=self._address.bucket, Key=remote.key, **options)
                with contextlib.closing(response["Body"]) as body:
                    if response["ETag"] != remote.etag:  # stores that do not know If-Match ignore it
                        raise ObjectChanged(remote.key)
                    if response["ContentLength"] != length:
                        raise _Interrupted(f"{response['ContentLength']} bytes instead of {length} were offered")
                    yield from body.iter_chunks(CHUNK_BYTES)
            except (BotoCoreError, ClientError) as error:
                if isinstance(error, ClientError) and s3_errors.is_change(error):
                    raise ObjectChanged(remote.key) from error
                if s3_errors.is_transient(error):
                    raise _Interrupted(str(error)) from error
                raise

    def small_object(self, key: str) -> bytes | None:
        """The object at `key`, or the beginning of a large one; None if there is none. Raises StartError."""

        def read() -> bytes | None:
            try:
                response = self._client.get_object(Bucket=self._address.bucket, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise
            with contextlib.closing(response["Body"]) as body:
                content: bytes = body.read(SMALL_BYTES)
                return content

        return self._call("be read", key, read)

    def top(self) -> tuple[str, ...]:
        """The names directly below the prefix, those of directories with a slash at the end; the first thousand."""
        prefix = self._address.prefix
        page = self._list(prefix, Delimiter="/")
        found = [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
        found += [entry["Key"] for entry in page.get("Contents", ())]
        return tuple(name[len(prefix) :] for name in found)

    def storage_of(self, remote: Remote) -> Stored:
        """How it is stored; needed only for an ETag that differs from that of the bytes."""

        def head_first_part() -> dict[str, Any]:
            head: dict[str, Any] = self._client.head_object(Bucket=self._address.bucket, Key=remote.key, PartNumber=1)
            return head

        head = self._call("be verified", remote.key, head_first_part)
        encrypted = head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head
        has_parts = "PartsCount" in head or head["ContentLength"] < remote.size
        return Stored(head["ContentLength"] if has_parts else None, hashed=not encrypted)

    def _archive(self) -> Remote:
        key = self._address.key

        def get_first_byte() -> dict[str, Any]:
            # A HEAD would do, but its errors have no body that gives the reason.
            response: dict[str, Any] = self._client.get_object(Bucket=self._address.bucket, Key=key, Range="bytes=0-0")
            response["Body"].close()
            return response

        response = self._call("be read", key, get_first_byte)
        return Remote(key, key.rsplit("/", 1)[-1], int(response["ContentRange"].rsplit("/", 1)[1]), response["ETag"])

    def _below_prefix(self) -> tuple[Remote, ...]:
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = self._list(self._address.prefix, **token)
            # What consoles show as folders are objects that end in a slash.
            found += [entry for entry in page.get("Contents", ()) if not entry["Key"].endswith("/")]
            if not page.get("IsTruncated"):
                break
            token = {"ContinuationToken": page["NextContinuationToken"]}
        if not found:
            raise StartError(f"There is nothing below {self._address}/{self._suggestion()}")
        return tuple(self._remote(entry) for entry in found)

    def _remote(self, entry: dict[str, Any]) -> Remote:
        name = entry["Key"][len(self._address.prefix) :]
        if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise StartError(
                f"The object s3://{self._address.bucket}/{entry['Key']} has a name that is not a file in the "
                "model's directory; rename or remove it."
            )
        return Remote(entry["Key"], name, entry["Size"], entry["ETag"])

    def _suggestion(self) -> str:
        key = self._address.key
        page = self._list(key, Delimiter="/", MaxKeys=50)
        near = [entry["Prefix"].rstrip("/") for entry in page.get("CommonPrefixes", ())]
        files = [entry["Key"] for entry in page.get("Contents", ()) if not entry["Key"].endswith("/")]
        if key in files:
            return f"; {key} is one object. Name the prefix that the model's files have in common, or a .tar.gz."
        if near:
            return f"; there is {', '.join(near[:_MAX_SUGGESTIONS])}. Correct the address."
        return "; correct the address, or upload the model there."

    def _list(self, prefix: str, **options: Any) -> dict[str, Any]:
        def list_page() -> dict[str, Any]:
            page: dict[str, Any] = self._client.list_objects_v2(Bucket=self._address.bucket, Prefix=prefix, **options)
            return page

        return self._call("be listed", None, list_page)

    def _call(self, doing: str, key: str | None, request: Callable[[], T]) -> T:
        """The result of a short request, which is tried again after a transient error. Raises StartError."""
        with self._translate_errors(doing, key):
            for seconds in _WAITS:
                try:
                    return request()
                except (BotoCoreError, ClientError) as error:
                    if not s3_errors.is_transient(error):
                        raise
                    log.warning("%s: %s; trying again", self._address, error)
                time.sleep(seconds)
            return request()

    @contextlib.contextmanager
    def _translate_errors(self, doing: str, key: str | None = None) -> Iterator[None]:
        where = str(self._address) if key is None else f"s3://{self._address.bucket}/{key}"
        try:
            yield
        except (BotoCoreError, ClientError, ValueError) as error:
            raise s3_errors.error_for(error, where, doing) from error
