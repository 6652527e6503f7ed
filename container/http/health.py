"""loading -> ready (or following) <-> restarting -> draining -> dead: what /ping reports, and whether requests are answered."""

import asyncio
import contextlib
import enum
import time
from typing import Any

from handler.djl.own_model import OwnModel
from handler.errors import Unavailable
from handler.service import Service


class Phase(enum.StrEnum):
    """The phases of the process."""

    LOADING = "loading"
    READY = "ready"
    FOLLOWING = "following"
    RESTARTING = "restarting"
    DRAINING = "draining"
    DEAD = "dead"


class Health:
    """The phase that the process is in. The server changes it, the routes read it."""

    def __init__(self) -> None:
        self.phase = Phase.LOADING
        self.detail = "starting"
        self._since = time.monotonic()
        self._service: Service | OwnModel | None = None
        self._loaded = asyncio.Event()

    def loading(self, detail: str) -> None:
        """Report what the start does."""
        self.detail = detail

    def ready(self, service: Service | OwnModel) -> None:
        """`service` responds to requests from now on."""
        self._become(Phase.READY, f"serving {service.card.names[0]}")
        self._service = service

    def following(self, detail: str) -> None:
        """Node 0 responds to requests; this node computes for it."""
        self._become(Phase.FOLLOWING, detail)

    def restarting(self, detail: str) -> None:
        """The engine has died and is being replaced. Requests that were admitted wait for that, new ones are refused."""
        if self.phase is not Phase.RESTARTING:
            self._become(Phase.RESTARTING, detail)
        self.detail = detail

    def draining(self, detail: str) -> None:
        """New requests are refused; those that run finish."""
        self._become(Phase.DRAINING, detail)

    def dead(self, detail: str) -> None:
        """The process is about to end."""
        self._become(Phase.DEAD, detail)

    def service(self) -> Service | OwnModel:
        """What responds to requests. Raises Unavailable, with the reason, in every phase but READY."""
        if self.phase is Phase.READY and self._service is not None:
            return self._service
        retry_after = 10 if self.phase in (Phase.LOADING, Phase.RESTARTING) else 1
        raise Unavailable(f"The server is {self.phase}: {self.detail}.", retry_after=retry_after)

    @property
    def batch_size(self) -> int:
        """How many requests are computed at once; 0 before the service is there."""
        return 0 if self._service is None else self._service.card.batch_size

    @property
    def sessions(self) -> tuple[int, int]:
        """The bytes of the images of sessions, and their maximum; none before the service is there, or where it has none."""
        found = self._service.sessions if isinstance(self._service, Service) else None
        return (0, 0) if found is None else (found.image_bytes, found.max_bytes)

    @property
    def named_images(self) -> tuple[int, int]:
        """The bytes of the images that clients have named, and their maximum."""
        found = self._service.named_images if isinstance(self._service, Service) else None
        return (0, 0) if found is None else (found.bytes, found.max_bytes)

    @property
    def is_healthy(self) -> bool:
        """Whether a health check passes."""
        return self.phase in (Phase.READY, Phase.FOLLOWING)

    async def wait_until_loaded(self, seconds: float) -> None:
        """Return when loading has ended, successfully or not, at the latest after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._loaded.wait()

    def report(self) -> dict[str, Any]:
        """The body of /ping: the phase, what is done in it, and the seconds since it began."""
        seconds = round(time.monotonic() - self._since, 1)
        return {"status": str(self.phase), "detail": self.detail, "seconds": seconds}

    def _become(self, phase: Phase, detail: str) -> None:
        self.phase, self.detail, self._since = phase, detail, time.monotonic()
        self._loaded.set()
