"""The routes that tell and change which adapters are served: LMI's, SageMaker's and vLLM's names for it."""

import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from container.http.exchange import Exchange
from container.http.health import Health
from container.http.models import Models
from container.http.streaming import read_body
from handler.adapters.registry import Adapters
from handler.djl.own_model import OwnModel
from handler.engine import Adapter
from handler.errors import InvalidRequest, NotAllowed
from handler.payload.body import json_object
from handler.payload.fields import optional

PAGE = 100  # LMI's `limit`
MOST_BODY_BYTES = 2**16
# What a request may say beside the name and the source. Every adapter is loaded at once, so that a fault is told to
# whoever registers it; and vLLM 0.32 may have no slot for a batch while some are pinned.
NO_EFFECT = {"preload": True, "pin": False}


class AdapterRoutes:
    """The endpoints; `allowed` is whether requests may change anything."""

    def __init__(self, health: Health, models: Models, *, allowed: bool) -> None:
        self._health = health
        self._models = models
        self._allowed = allowed

    async def list(self, request: Request, _: Exchange) -> Response:
        """LMI's list, a page at a time."""
        served = [*self._adapters(request).served.values()]
        first = _number(request, "next_page_token", 0)
        page = served[first : first + max(1, _number(request, "limit", PAGE))]
        more = {"nextPageToken": str(first + len(page))} if first + len(page) < len(served) else {}
        return JSONResponse({"adapters": [_shown(adapter) for adapter in page], **more})

    async def describe(self, request: Request, _: Exchange) -> Response:
        """LMI's description of one."""
        return JSONResponse([_shown(self._adapters(request).find(request.path_params["name"]))])

    async def register(self, request: Request, exchange: Exchange) -> Response:
        """Serve an adapter that a body or a query names by `name` and `src`."""
        self._check_allowed()
        asked = await _asked(request)
        name, source = _word(asked, "name"), _word(asked, "src")
        await self._adapters(request).register(name, source)
        return _status(exchange, asked, f"Adapter {name} registered")

    async def update(self, request: Request, exchange: Exchange) -> Response:
        """Bring an adapter again, from `src` if there is one."""
        self._check_allowed()
        asked, name = await _asked(request), request.path_params["name"]
        await self._adapters(request).update(name, _word(asked, "src") if "src" in asked else None)
        return _status(exchange, asked, f"Adapter {name} updated")

    async def unregister(self, request: Request, _: Exchange) -> Response:
        """Answer nothing more with an adapter."""
        self._check_allowed()
        name = request.path_params["name"]
        await self._adapters(request).unregister(name)
        return JSONResponse({"status": f"Adapter {name} unregistered"})

    async def load(self, request: Request, _: Exchange) -> Response:
        """vLLM's /v1/load_lora_adapter."""
        self._check_allowed()
        asked = await _asked(request)
        name, source = _word(asked, "lora_name"), _word(asked, "lora_path")
        adapters = self._adapters(request)
        replacing = bool(optional(asked, "load_inplace", bool, "", "true or false")) and name in adapters.served
        await adapters.register(name, source, replacing=replacing)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: Request, _: Exchange) -> Response:
        """vLLM's /v1/unload_lora_adapter."""
        self._check_allowed()
        name = _word(await _asked(request), "lora_name")
        await self._adapters(request).unregister(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def change_models(self, _: Request, __: Exchange) -> Response:
        """LMI registers, scales and removes whole models at run time."""
        self._check_allowed()
        raise InvalidRequest("One model is served, as it was named at the start; adapters can be changed (/adapters).")

    async def change_log_level(self, request: Request, _: Exchange) -> Response:
        """LMI's POST /server/logging?level=."""
        self._check_allowed()
        level = request.query_params.get("level", "").upper()
        if level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise InvalidRequest("`level` must be debug, info, warning, error or critical.", param="level")
        logging.getLogger("lumi").setLevel(level)
        return JSONResponse({"status": "OK"})

    def _adapters(self, request: Request) -> Adapters:
        service = self._health.service()
        if (model := request.path_params.get("model")) is not None:
            self._models.check_name(model)
        if isinstance(service, OwnModel):
            raise InvalidRequest("The model's own code answers here; adapters are its own business.")
        return service.adapters

    def _check_allowed(self) -> None:
        if not self._allowed:
            raise NotAllowed("This would change what is served; start with OPTION_ENABLE_MANAGEMENT=true to allow it.")


async def _asked(request: Request) -> Mapping[str, Any]:
    """What the query says, and the body in JSON."""
    body = await read_body(request, MOST_BODY_BYTES)
    said: dict[str, Any] = dict(request.query_params)
    said |= json_object(body) if body.strip() else {}
    for name in NO_EFFECT.keys() & said.keys():  # LMI reads them as texts
        said[name] = {"true": True, "false": False}.get(str(said[name]).lower(), said[name])
    return said


def _word(asked: Mapping[str, Any], name: str) -> str:
    value = optional(asked, name, str, "", "a text")
    if not value:
        raise InvalidRequest(f"`{name}` is missing; it names the adapter, or where its files are.", param=name)
    return str(value)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidRequest(f"`{name}` must be a whole number.", param=name)
    return int(text)


def _status(exchange: Exchange, asked: Mapping[str, Any], status: str) -> Response:
    no_effect = (name for name, value in NO_EFFECT.items() if asked.get(name, value) != value)
    exchange.ignored = (*no_effect, *sorted(asked.keys() - NO_EFFECT.keys() - {"name", "src"}))
    return JSONResponse({"status": status})


def _shown(adapter: Adapter) -> dict[str, Any]:
    return {"name": adapter.name, "src": adapter.source, "load": True, "pin": False, "rank": adapter.rank}
