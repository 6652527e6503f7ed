"""Images that clients have named by a `uuid`, for content parts that have the uuid in place of the image.

vLLM (0.32, tests of its `uuid`, 2026-11-22) takes the name for the key of its cache, across all clients and without a look
at the image. Here a name belongs to who gave it, and the engine knows images by their content alone.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

MAX_BYTES = 2**26
MAX_IMAGES = 10_000


@dataclass(slots=True)
class _Owned:
    images: OrderedDict[str, bytes] = field(default_factory=OrderedDict)  # the least recently used first
    bytes: int = 0


class NamedImages:
    """The encoded images by owner and uuid. Beyond `max_bytes` or `max_images` the owner who has the most of them loses
    what it has used least recently. To be used in the event loop only."""

    def __init__(self, max_bytes: int = MAX_BYTES, max_images: int = MAX_IMAGES) -> None:
        self.max_bytes = max_bytes
        self._max_images = max_images
        self._owners: dict[str, _Owned] = {}
        self._count = 0
        self.bytes = 0

    def find(self, owner: str, uuid: str) -> bytes | None:
        """The image that `owner` has sent under this name last, if it is still here."""
        owned = self._owners.get(owner)
        if owned is None or uuid not in owned.images:
            return None
        owned.images.move_to_end(uuid)
        return owned.images[uuid]

    def keep(self, owner: str, uuid: str, encoded: bytes) -> None:
        """Remember an image, in place of the one that had the name before."""
        owned = self._owners.setdefault(owner, _Owned())
        if (before := owned.images.pop(uuid, None)) is not None:
            self._add(owned, -1, -len(before))
        owned.images[uuid] = encoded
        self._add(owned, 1, len(encoded))
        while self.bytes > self.max_bytes or self._count > self._max_images:
            self._drop_one()

    def _drop_one(self) -> None:
        name, most = max(self._owners.items(), key=lambda item: item[1].bytes)
        _, gone = most.images.popitem(last=False)
        self._add(most, -1, -len(gone))
        if not most.images:
            del self._owners[name]

    def _add(self, owned: _Owned, count: int, size: int) -> None:
        self._count += count
        owned.bytes += size
        self.bytes += size
