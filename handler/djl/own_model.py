"""A model that user code owns: the code is called once to load it, then once per request."""

import time
from collections.abc import Mapping

from handler.djl.call import Call, CallResult
from handler.djl.code_handler import CodeHandler
from handler.djl.failures import CodeFailure, raise_start_error
from handler.djl.user_module import UserModule
from handler.djl.user_thread import UserThread
from handler.engine import ModelCard

_NO_CONTENT = CallResult(204, {})


class OwnModel:
    """Responds with what `code` returns. `properties` are the options as strings, by LMI's names, and `names` are the
    names that the model is served under, `batch_size` the requests that should be sent at once. `thread` is the thread that
    executed the code."""

    def __init__(
        self,
        code: UserModule,
        thread: UserThread,
        *,
        properties: Mapping[str, str],
        names: tuple[str, ...],
        batch_size: int = 32,
    ) -> None:
        self.card = ModelCard(
            names, max_model_len=0, supports_images=True, batch_size=batch_size, created=int(time.time())
        )
        self._entry = code.entry
        self._handler = CodeHandler(code, thread, properties=properties)

    async def start(self) -> None:
        """Let the code load its model. Raises StartError."""
        try:
            await self._handler.load()
        except CodeFailure as failure:
            raise_start_error(self._entry, "failed to load the model", failure)

    async def handle(self, call: Call) -> CallResult:
        """What the code returns for `call`; see CodeHandler."""
        return await self._handler.handle(call) or _NO_CONTENT
