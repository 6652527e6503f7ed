"""The routes that describe the model, as clients of OpenAI, SageMaker and LMI ask for it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from container.http.admission import Admission
from container.http.exchange import Exchange
from container.http.health import Health
from handler.djl.own_model import OwnModel
from handler.engine import Adapter, ModelCard
from handler.errors import UnknownModel
from handler.payload.fields import shorten
from handler.service import Service

MODEL_URL = "/opt/ml/model"
LMI_NAME = "model"  # what LMI calls the one model that it finds in /opt/ml/model
# A batch transform sends this many requests at a time, each of this many MB: SageMaker wants the product below 100.
TRANSFORM_MB = 6
MAX_TRANSFORMS = 16


class Models:
    """The descriptions of the model. `admission` holds the requests that run or wait."""

    def __init__(self, health: Health, admission: Admission) -> None:
        self._health = health
        self._admission = admission

    async def openai_list(self, _: Request, __: Exchange) -> Response:
        """OpenAI's list of models, one entry for each name and adapter."""
        service = self._health.service()
        card, adapters = service.card, _served_adapters(service).values()
        data = [*(_openai(card, name) for name in card.names), *(_adapter_entry(card, adapter) for adapter in adapters)]
        return JSONResponse({"object": "list", "data": data})

    async def openai_one(self, request: Request, _: Exchange) -> Response:
        """OpenAI's description of one name."""
        service, name = self._health.service(), request.path_params["model"]
        if name in service.card.names:
            told = _openai(service.card, name)
        elif name in (adapters := _served_adapters(service)):
            told = _adapter_entry(service.card, adapters[name])
        else:
            raise _unknown(service.card, name)
        # Xinference's client chooses what it offers by these two.
        abilities = ["chat", "generate", *(["vision"] if service.card.supports_images else [])]
        return JSONResponse({**told, "model_type": "LLM", "model_ability": abilities})

    async def lmi_list(self, _: Request, __: Exchange) -> Response:
        """LMI's and SageMaker's list: one model, as there is one."""
        service = self._health.service()
        model = {"modelName": service.card.names[0], "modelUrl": MODEL_URL, "status": "READY"}
        return JSONResponse({"models": [model | _with(_served_adapters(service))]})

    async def lmi_one(self, request: Request, _: Exchange) -> Response:
        """LMI's description of the model, by any of its names: a workflow of one model with one worker.

        The shape is that of DescribeWorkflowResponse.java in djl-serving d21927c4 (2026-06-24), whose integration client
        reads `[0].models[0].workerGroups`; `device` is left out.
        """
        name = request.path_params["model"]
        self.check_name(name)
        service = self._health.service()
        started = datetime.fromtimestamp(service.card.created, UTC).isoformat(timespec="milliseconds")
        worker = {"id": 1, "startTime": started.replace("+00:00", "Z"), "status": "READY"}
        model = {
            "modelName": name,
            "modelUrl": MODEL_URL,
            "batchSize": 1,  # LMI's dynamic batching; the engine batches by itself
            "queueSize": self._admission.limit,
            "requestInQueue": max(0, self._admission.held - service.card.batch_size),
            "status": "Healthy",
            "loadedAtStartup": True,
            "workerGroups": [{"minWorkers": 1, "maxWorkers": 1, "workers": [worker]}],
        }
        return JSONResponse([{"workflowName": name, "models": [model | _with(_served_adapters(service))]}])

    async def execution_parameters(self, _: Request, __: Exchange) -> Response:
        """What a SageMaker batch transform should send: one record a request."""
        at_once = max(1, min(self._health.service().card.batch_size, MAX_TRANSFORMS))
        return JSONResponse(
            {"MaxConcurrentTransforms": at_once, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": TRANSFORM_MB}
        )

    def check_name(self, name: str) -> None:
        """Raises UnknownModel for a name in a path that neither `model` nor LMI has for what is served."""
        card = self._health.service().card
        if name != LMI_NAME and name not in {*card.names, *(re.sub(r"\W", "_", served) for served in card.names)}:
            raise _unknown(card, name)


def _openai(card: ModelCard, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": card.created,
        "owned_by": "lumi",
        "root": card.names[0],
        "parent": None,
        "max_model_len": card.max_model_len or None,  # user code has no context length
        "permission": [_permission(card, name)],
    }


def _permission(card: ModelCard, name: str) -> dict[str, Any]:
    """What OpenAI's first clients read, and vLLM 0.32 still writes (entrypoints/openai/models/protocol.py, 2026-11-22)."""
    allowed = {"sampling": True, "logprobs": True, "view": True}
    denied = dict.fromkeys(("create_engine", "search_indices", "fine_tuning"), False)
    return {
        "id": f"modelperm-{name}",
        "object": "model_permission",
        "created": card.created,
        **{f"allow_{what}": is_allowed for what, is_allowed in (allowed | denied).items()},
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }


def _adapter_entry(card: ModelCard, adapter: Adapter) -> dict[str, Any]:
    changed = {"created": adapter.created, "root": adapter.source, "parent": card.names[0]}
    return {**_openai(card, adapter.name), **changed}


def _served_adapters(service: Service | OwnModel) -> Mapping[str, Adapter]:
    return {} if isinstance(service, OwnModel) else service.adapters.served


def _with(adapters: Mapping[str, Adapter]) -> dict[str, Any]:
    shown = [{"name": adapter.name, "src": adapter.source} for adapter in adapters.values()]
    return {"adapters": shown} if shown else {}


def _unknown(card: ModelCard, name: str) -> UnknownModel:
    return UnknownModel(
        f"The model {shorten(name)!r} does not exist. Available: {', '.join(card.names)}.", param="model"
    )
