"""An ETag of S3 -> the MD5 of an object, or of its parts' MD5s. With KMS it is neither."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 2**20
# Part sizes of uploaders, the most usual first: aws and boto3, hub mirrors, s5cmd (50), rclone and minio (5, 16, 128), ...
_USUAL = tuple(count * MIB for count in (8, 16, 5, 64, 50, 32, 128, 100, 10, 256, 512, 1024, 15, 20, 25, 12, 6, 7))
_ETAG = re.compile(r'"?([0-9a-f]{32})(?:-(\d+))?"?')


@dataclass(frozen=True, slots=True)
class ETag:
    """`parts` is None for an object that was uploaded in one piece."""

    digest: str
    parts: int | None

    @classmethod
    def parse(cls, text: str) -> "ETag | None":
        """None for an ETag of another form, as stores other than Amazon's may have."""
        match = _ETAG.fullmatch(text)
        return cls(match[1], int(match[2]) if match[2] else None) if match else None

    def fits(self, digests: Iterable[bytes]) -> bool:
        """Whether the MD5s of the object's parts, or of the object, make this ETag."""
        digests = list(digests)
        if self.parts is None:
            return len(digests) == 1 and digests[0].hex() == self.digest
        return len(digests) == self.parts and md5(b"".join(digests)).hexdigest() == self.digest


def part_bytes(size: int, parts: int) -> int | None:
    """The likely size of the parts of an object of `size` bytes: a usual one that makes so many parts."""
    if parts < 1:
        return None
    usual = (count for count in _USUAL if -(-size // count) == parts)
    least = -(-size // parts)
    whole = -(-least // MIB) * MIB
    return next(usual, whole if -(-size // whole) == parts else None) if size else None


def md5(data: bytes = b"") -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)
