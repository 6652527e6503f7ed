"""The start of user code: its requirements are installed, its file is executed, in the thread that it keeps."""

from dataclasses import dataclass

from handler.djl import requirements, user_module
from handler.djl.entry_point import EntryPoint
from handler.djl.user_module import UserModule
from handler.djl.user_thread import Failed, UserThread


@dataclass(frozen=True, slots=True)
class UserCode:
    """A file that was executed, and the thread that its functions are called in."""

    module: UserModule
    thread: UserThread

    async def check(self) -> None:
        """Nothing: what goes wrong in the code is an answer, not an end."""

    async def stop(self) -> None:
        """End the thread and forget the module. May be called twice."""
        await self.thread.stop()
        user_module.unload(self.module.entry)


async def execute(entry: EntryPoint, *, handler: str, install_requirements: bool, seconds: float) -> UserCode:
    """Execute `entry` once. `seconds` bounds each later call. Raises StartError."""
    thread = UserThread(seconds=seconds)
    thread.start()

    def load() -> UserModule:
        requirements.install(entry, allowed=install_requirements)
        return user_module.load(entry, handler)

    try:
        return UserCode(await thread.run(load, bounded=False), thread)
    except Failed as failed:
        await thread.stop()
        user_module.refuse(entry, "could not be loaded", failed.error)
    except BaseException:  # the start was given up
        await thread.stop()
        raise
