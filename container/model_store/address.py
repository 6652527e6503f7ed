"""What an id on the Hugging Face Hub and an s3:// address look like; s3://bucket/prefix -> its parts."""

import hashlib
import re
from dataclasses import dataclass

from handler.errors import StartError

ARCHIVES = (".tar.gz", ".tgz", ".tar")
_S3 = re.compile(r"s3://([^/\s]+)/*(\S*?)/*")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def is_hub_id(text: str) -> bool:
    """Whether this has the form of name or organisation/name."""
    return _HUB_ID.fullmatch(text) is not None


def is_s3_address(text: str) -> bool:
    return _S3.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Address:
    """`key` has no slash at its ends; an empty one means the whole bucket."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises StartError where no bucket is named."""
        match = _S3.fullmatch(text)
        if match is None:
            raise StartError(
                f"The model {text!r} is not an address on S3; write s3://bucket/prefix or s3://bucket/x.tar.gz."
            )
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}".rstrip("/")

    @property
    def is_archive(self) -> bool:
        """Whether this names one object, to be unpacked, rather than all objects below a prefix."""
        return self.key.endswith(ARCHIVES)

    @property
    def prefix(self) -> str:
        """What the keys of the model's files begin with. The slash keeps model-2/ out of model."""
        return f"{self.key}/" if self.key else ""

    @property
    def name(self) -> str:
        """The last segment, as people call the model."""
        name = (self.key or self.bucket).rsplit("/", 1)[-1]
        ending = next((ending for ending in ARCHIVES if name.endswith(ending)), "")
        return name.removesuffix(ending) or name

    @property
    def directory(self) -> str:
        """A name for a directory: readable, and different for every address."""
        readable = re.sub(r"[^\w.-]+", "-", f"{self.bucket}-{self.key}").strip("-.")[-80:]
        return f"{readable}-{hashlib.sha256(str(self).encode()).hexdigest()[:12]}"
