"""The routes that list and change the adapters: LMI's, SageMaker's and vLLM's."""

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
from handler.payload.fields import optional, shorten

ALIAS_HEADER = "X-Amzn-SageMaker-Adapter-Alias"
DEFAULT_PAGE_SIZE = 100  # LMI's `limit`
MAX_BODY_BYTES = 2**16
# Flags of LMI and the values that describe what happens. Every adapter is loaded at once, so that the response reports its
# faults; and vLLM 0.32 may have no slot left for a batch while adapters are pinned.
FLAGS = {"preload": True, "pin": False}


class AdapterRoutes:
    """The endpoints; `allowed` is whether requests may change the adapters."""

    def __init__(self, health: Health, models: Models, *, allowed: bool) -> None:
        self._health = health
        self._models = models
        self._allowed = allowed

    async def list(self, request: Request, _: Exchange) -> Response:
        """LMI's list, one page."""
        served = [*self._adapters(request).served.values()]
        first = _query_number(request, "next_page_token", 0)
        page = served[first : first + max(1, _query_number(request, "limit", DEFAULT_PAGE_SIZE))]
        more = {"nextPageToken": str(first + len(page))} if first + len(page) < len(served) else {}
        return JSONResponse({"adapters": [_description(adapter) for adapter in page], **more})

    async def describe(self, request: Request, _: Exchange) -> Response:
        """LMI's description of one adapter."""
        return JSONResponse([_description(self._adapters(request).find(request.path_params["name"]))])

    async def register(self, request: Request, exchange: Exchange) -> Response:
        """Register the adapter that the body or the query names by `name` and `src`."""
        self._check_allowed()
        fields = await _read_fields(request)
        name, source = _required(fields, "name"), _required(fields, "src")
        await self._adapters(request).register(name, source)
        return _status_response(exchange, fields, f"Adapter {_alias(request, name)} registered")

    async def update(self, request: Request, exchange: Exchange) -> Response:
        """Fetch and load an adapter again, from `src` if the request has one."""
        self._check_allowed()
        fields, name = await _read_fields(request), request.path_params["name"]
        await self._adapters(request).update(name, _required(fields, "src") if "src" in fields else None)
        return _status_response(exchange, fields, f"Adapter {_alias(request, name)} updated")

    async def unregister(self, request: Request, _: Exchange) -> Response:
        """Unregister an adapter."""
        self._check_allowed()
        name = request.path_params["name"]
        await self._adapters(request).unregister(name)
        return JSONResponse({"status": f"Adapter {_alias(request, name)} unregistered"})

    async def load(self, request: Request, _: Exchange) -> Response:
        """vLLM's /v1/load_lora_adapter."""
        self._check_allowed()
        fields = await _read_fields(request)
        name, source = _required(fields, "lora_name"), _required(fields, "lora_path")
        adapters = self._adapters(request)
        replacing = bool(optional(fields, "load_inplace", bool, "", "true or false")) and name in adapters.served
        await adapters.register(name, source, replacing=replacing)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: Request, _: Exchange) -> Response:
        """vLLM's /v1/unload_lora_adapter."""
        self._check_allowed()
        name = _required(await _read_fields(request), "lora_name")
        await self._adapters(request).unregister(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def change_models(self, _: Request, __: Exchange) -> Response:
        """LMI's routes that register, scale and remove models at run time, which Lumi does not do."""
        self._check_allowed()
        raise InvalidRequest(
            "The server has one model, which is set at the start. Only adapters can be changed (/adapters)."
        )

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
            raise InvalidRequest("The model's own code serves this model and manages its adapters itself.")
        return service.adapters

    def _check_allowed(self) -> None:
        if not self._allowed:
            raise NotAllowed(
                "Requests may not change this server. Start with OPTION_ENABLE_MANAGEMENT=true to allow it."
            )


async def _read_fields(request: Request) -> Mapping[str, Any]:
    """The fields of the query and of the JSON body."""
    body = await read_body(request, MAX_BODY_BYTES)
    fields: dict[str, Any] = dict(request.query_params)
    fields |= json_object(body) if body.strip() else {}
    for name in FLAGS.keys() & fields.keys():  # LMI reads them as strings
        fields[name] = {"true": True, "false": False}.get(str(fields[name]).lower(), fields[name])
    return fields


def _alias(request: Request, name: str) -> str:
    """What SageMaker calls an adapter whose `name` it made up; only for the response, as in LMI."""
    return shorten(request.headers.get(ALIAS_HEADER) or name)


def _required(fields: Mapping[str, Any], name: str) -> str:
    value = optional(fields, name, str, "", "a string")
    if not value:
        raise InvalidRequest(
            f"`{name}` is missing. Send the name of the adapter and the source of its files.", param=name
        )
    return str(value)


def _query_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidRequest(f"`{name}` must be a whole number.", param=name)
    return int(text)


def _status_response(exchange: Exchange, fields: Mapping[str, Any], status: str) -> Response:
    no_effect = (name for name, value in FLAGS.items() if fields.get(name, value) != value)
    exchange.ignored = (*no_effect, *sorted(fields.keys() - FLAGS.keys() - {"name", "src"}))
    return JSONResponse({"status": status})


def _description(adapter: Adapter) -> dict[str, Any]:
    return {"name": adapter.name, "src": adapter.source, "load": True, "pin": False, "rank": adapter.rank}
