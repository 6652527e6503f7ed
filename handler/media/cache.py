"""ImageCache: who already has it. Digest -> the live image, or at least its size."""

import threading
from collections import OrderedDict
from weakref import WeakValueDictionary

from handler.media.images import LazyImage, read_size
from handler.media.limits import MediaLimits


class ImageCache:
    """One object per image, however many parts, turns and concurrent requests show it: decoded once, parsed once.

    Holds no image alive; when the last request is done with it, its pixels go. What stays is its size, so that the
    next turn of the conversation does not parse its header again. Thread-safe.
    """

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._live: WeakValueDictionary[str, LazyImage] = WeakValueDictionary()
        self._sizes: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def find(self, digest: str, encoded: bytes) -> LazyImage | None:
        """The image, where that takes no look at its bytes; a microsecond."""
        with self._lock:
            image = self._live.get(digest)
            if image is None and (size := self._sizes.get(digest)) is not None:
                self._sizes.move_to_end(digest)
                image = self._live[digest] = LazyImage(encoded, digest, size, self._limits)
            return image

    def open(self, digest: str, encoded: bytes, path: str) -> LazyImage:
        """The image, its header read if it is new. Raises MediaInvalid or MediaTooLarge."""
        image = self.find(digest, encoded)
        if image is not None:
            return image
        size = read_size(encoded, path, self._limits)
        with self._lock:
            self._sizes[digest] = size
            if len(self._sizes) > self._limits.remembered_images:
                self._sizes.popitem(last=False)
        return self.find(digest, encoded) or LazyImage(encoded, digest, size, self._limits)
