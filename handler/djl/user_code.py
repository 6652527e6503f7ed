"""The start of user code: install its requirements and execute its file, in the thread that all its functions run in."""

from dataclasses import dataclass

from handler.djl import requirements, user_module
from handler.djl.entry_point import EntryPoint
from handler.djl.failures import UserCodeError, raise_start_error
from handler.djl.user_module import UserModule
from handler.djl.user_thread import GRACE_SECONDS, UserThread


@dataclass(frozen=True, slots=True)
class UserCode:
    """An executed file, and the thread that its functions are called in."""

    module: UserModule
    thread: UserThread

    async def stop(self) -> None:
        """End the thread and remove the module. May be called twice."""
        await self.thread.stop()
        user_module.unload(self.module.entry)


async def execute(
    entry: EntryPoint,
    *,
    handler: str,
    install_requirements: bool,
    seconds: float,
    grace_seconds: float = GRACE_SECONDS,
) -> UserCode:
    """Execute `entry` once. `seconds` limits each later call. Raises StartError."""
    thread = UserThread(seconds=seconds, grace_seconds=grace_seconds)
    thread.start()

    def load() -> UserModule:
        requirements.install(entry, allowed=install_requirements)
        return user_module.load(entry, handler)

    try:
        return UserCode(await thread.run(load, bounded=False), thread)
    except UserCodeError as failure:
        await thread.stop()
        raise_start_error(entry, "could not be loaded", failure)
    except BaseException:  # the start was cancelled
        await thread.stop()
        raise
