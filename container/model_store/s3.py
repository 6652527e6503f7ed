"""A bucket of S3, through boto3: what is there, and the bytes of it. Faults leave here as StartError or as below."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from container.model_store import refusals
from container.model_store.address import Address
from handler.errors import StartError

CHUNK_BYTES = 512 * 2**10
SMALL_BYTES = 2 * 2**20
CONNECT_SECONDS, READ_SECONDS = 10, 60
ATTEMPTS = 3  # by boto3, for each request
# What a request is signed for where nothing names a region; S3 then says which one the bucket has, and boto3 follows.
REGION = "us-east-1"
_SUGGESTED = 5


class Interrupted(Exception):
    """The bytes stopped coming; worth another try."""


class ObjectChanged(Exception):
    """The object is another one than the listing says, or gone."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An object: its key, the file that it becomes, as a relative path, and what it was when it was listed."""

    key: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Stored:
    """How an object is stored: the size of its parts where S3 tells, and whether its ETag is made of MD5s."""

    part_bytes: int | None
    hashed: bool


def connection(count: int, **named: str) -> Any:
    """A client of S3 for `count` threads, as the AWS_* variables and files say unless it is `named` otherwise."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=count,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        response_checksum_validation="when_required",  # the ETag is checked instead, also of ranges
        tcp_keepalive=True,
    )
    session = boto3.session.Session()
    return session.client("s3", region_name=session.region_name or REGION, config=config, **named)


class Bucket:
    """The bucket of `address`, by the client that `connect` makes. Thread-safe, as boto3's clients are."""

    def __init__(self, address: Address, connect: Callable[[], Any]) -> None:
        self._address = address
        with self._refused("be read"):
            self._client = connect()

    def close(self) -> None:
        self._client.close()

    def objects(self) -> tuple[Remote, ...]:
        """What makes the model. Raises StartError where there is nothing, or a name that would leave the directory."""
        return (self._archive(),) if self._address.is_archive else self._below_prefix()

    def read(self, remote: Remote, start: int, length: int) -> Iterator[bytes]:
        """`length` bytes of it from `start`. Raises ObjectChanged, Interrupted or StartError."""
        asked: dict[str, Any] = {"IfMatch": remote.etag}
        if (start, length) != (0, remote.size):
            asked["Range"] = f"bytes={start}-{start + length - 1}"
        with self._refused_or_transient("be downloaded", remote):
            response = self._client.get_object(Bucket=self._address.bucket, Key=remote.key, **asked)
            with contextlib.closing(response["Body"]) as body:
                if response["ETag"] != remote.etag:  # stores that do not know If-Match ignore it
                    raise ObjectChanged(remote.key)
                if response["ContentLength"] != length:
                    raise Interrupted(f"{length} bytes were asked for, and {response['ContentLength']} offered")
                yield from body.iter_chunks(CHUNK_BYTES)

    def small_object(self, key: str) -> bytes | None:
        """The object at `key`, or the beginning of a large one; None where there is none. Raises StartError."""
        with self._refused("be read", key):
            try:
                response = self._client.get_object(Bucket=self._address.bucket, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise
            with contextlib.closing(response["Body"]) as body:
                content: bytes = body.read(SMALL_BYTES)
                return content

    def top(self) -> tuple[str, ...]:
        """The names directly below the prefix, of directories with a slash at their end; the first thousand."""
        prefix = self._address.prefix
        with self._refused("be listed"):
            page = self._client.list_objects_v2(Bucket=self._address.bucket, Prefix=prefix, Delimiter="/")
        found = [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
        found += [entry["Key"] for entry in page.get("Contents", ())]
        return tuple(name[len(prefix) :] for name in found)

    def stored(self, remote: Remote) -> Stored:
        """Asked only where an ETag was not what the bytes make."""
        with self._refused_or_transient("be verified", remote):
            head = self._client.head_object(Bucket=self._address.bucket, Key=remote.key, PartNumber=1)
        encrypted = head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head
        told = "PartsCount" in head or head["ContentLength"] < remote.size
        return Stored(head["ContentLength"] if told else None, hashed=not encrypted)

    def _archive(self) -> Remote:
        key = self._address.key
        with self._refused("be read", key):
            # A HEAD would do, but its refusals have no body that says why.
            got = self._client.get_object(Bucket=self._address.bucket, Key=key, Range="bytes=0-0")
            got["Body"].close()
        return Remote(key, key.rsplit("/", 1)[-1], int(got["ContentRange"].rsplit("/", 1)[1]), got["ETag"])

    def _below_prefix(self) -> tuple[Remote, ...]:
        prefix = self._address.prefix
        with self._refused("be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._address.bucket, Prefix=prefix)
            found = [entry for page in pages for entry in page.get("Contents", ())]
        # What consoles show as folders are objects that end in a slash.
        found = [entry for entry in found if not entry["Key"].endswith("/")]
        if not found:
            raise StartError(f"Nothing is stored below {self._address}/{self._suggestion()}")
        return tuple(self._remote(entry) for entry in found)

    def _remote(self, entry: dict[str, Any]) -> Remote:
        name = entry["Key"][len(self._address.prefix) :]
        if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise StartError(
                f"The object s3://{self._address.bucket}/{entry['Key']} has a name that would be no file in the "
                "model's directory; rename or remove it."
            )
        return Remote(entry["Key"], name, entry["Size"], entry["ETag"])

    def _suggestion(self) -> str:
        key = self._address.key
        with self._refused("be listed"):
            page = self._client.list_objects_v2(Bucket=self._address.bucket, Prefix=key, Delimiter="/", MaxKeys=50)
        near = [entry["Prefix"].rstrip("/") for entry in page.get("CommonPrefixes", ())]
        files = [entry["Key"] for entry in page.get("Contents", ()) if not entry["Key"].endswith("/")]
        if key in files:
            return f"; {key} is one object. Name the prefix that the model's files have in common, or a .tar.gz."
        if near:
            return f"; there is {', '.join(near[:_SUGGESTED])}. Correct the address."
        return "; correct the address, or upload the model there."

    @contextlib.contextmanager
    def _refused(self, doing: str, key: str | None = None) -> Iterator[None]:
        where = str(self._address) if key is None else f"s3://{self._address.bucket}/{key}"
        try:
            yield
        except (BotoCoreError, ClientError, ValueError) as error:
            raise refusals.refusal(error, where, doing) from error

    @contextlib.contextmanager
    def _refused_or_transient(self, doing: str, remote: Remote) -> Iterator[None]:
        with self._refused(doing, remote.key):
            try:
                yield
            except ClientError as error:
                if refusals.is_change(error):
                    raise ObjectChanged(remote.key) from error
                if not refusals.is_transient(error):
                    raise
                raise Interrupted(str(error)) from error
            except BotoCoreError as error:
                if not refusals.is_transient(error):
                    raise
                raise Interrupted(str(error)) from error
