"""The files of a model on S3 or the hub, read without a download: for its configuration and the headers of its weights."""

import contextlib
import functools
import time
from collections.abc import Mapping
from typing import Any

from container.model_store import directory
from container.model_store.address import Address
from container.model_store.hub_download import cached_directory, describe_error
from container.model_store.hub_files import Hub
from handler.checkpoint.files import DirectoryFiles, ModelFiles
from handler.errors import StartError

_SECONDS = 30.0  # for one request to the hub


class S3Files:
    """The files directly below a prefix on S3, or below the only directory there that holds a model."""

    def __init__(self, address: Address) -> None:
        from container.model_store.s3 import Bucket, connection  # noqa: PLC0415  # boto3 takes half a second to import

        self.name = str(address)
        self._bucket = Bucket(address, lambda: connection(8))
        objects = self._bucket.objects()
        inside = directory.model_among([each.name for each in objects], f"The prefix {address}/")
        prefix = f"{inside}/" if inside else ""
        below = {each.name.removeprefix(prefix): each for each in objects if each.name.startswith(prefix)}
        self._objects = {path: each for path, each in below.items() if "/" not in path}

    def sizes(self) -> Mapping[str, int]:
        return {path: each.size for path, each in self._objects.items()}

    def read(self, path: str, start: int, length: int) -> bytes:
        remote = self._objects[path]
        return b"".join(self._bucket.read(remote, start, min(length, remote.size - start), time.sleep))


class HubFiles:
    """The files at the top of a repository on the Hugging Face hub."""

    def __init__(self, repository: str, hub: Hub) -> None:
        import huggingface_hub.utils  # noqa: PLC0415  # heavy

        self.name = repository
        self._hub = hub
        self._library: Any = huggingface_hub
        self._headers: dict[str, str] = self._library.utils.build_hf_headers(token=hub.token)

    @functools.cache  # noqa: B019  # it lives as long as the command
    def sizes(self) -> Mapping[str, int]:
        with self._described():
            tree = self._library.HfApi().list_repo_tree(self.name, revision=self._hub.revision, token=self._hub.token)
            return {entry.path: entry.size for entry in tree if isinstance(entry, self._library.hf_api.RepoFile)}

    def read(self, path: str, start: int, length: int) -> bytes:
        url = self._library.hf_hub_url(self.name, path, revision=self._hub.revision)
        headers = {**self._headers, "Range": f"bytes={start}-{start + length - 1}"}
        with self._described():
            session = self._library.utils.get_session()
            with session.stream("GET", url, headers=headers, follow_redirects=True, timeout=_SECONDS) as response:
                self._library.utils.hf_raise_for_status(response)
                content = bytearray()
                for chunk in response.iter_bytes():  # a server may ignore the range
                    content += chunk
                    if len(content) >= length:
                        break
            return bytes(content[:length])

    @contextlib.contextmanager
    def _described(self) -> Any:
        try:
            yield
        except Exception as error:
            raise StartError(describe_error(error, self.name, self._hub.revision)) from error


def hub_files(repository: str, hub: Hub) -> ModelFiles:
    """Those of the hub, or of its cache where the hub is switched off or does not respond. Raises StartError."""
    files = HubFiles(repository, hub)
    try:
        files.sizes()
    except StartError:
        with contextlib.suppress(Exception):  # the first error is the one to report
            return DirectoryFiles(cached_directory(repository, hub), repository)
        raise
    return files
