"""What adapters rely on in vLLM's internals, shown on vLLM itself without starting an engine."""

import asyncio
import copy
import typing
from pathlib import Path
from types import SimpleNamespace

import pytest

from handler.adapters.files import RANKS, AdapterFiles, Change
from handler.engine import Adapter
from handler.engines.vllm.launch import VllmSettings
from handler.errors import EngineDead, InvalidRequest, StartError
from tests.adapter_cases import write_adapter

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("default"),  # vLLM's and torch's own; ours would be errors in every other file
]

MODEL = Path(__file__).parent.parent / "demo" / "model"
Q_PROJ = "language_model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def model_config():
    from vllm.engine.arg_utils import AsyncEngineArgs

    return AsyncEngineArgs(model=str(MODEL), dtype="float32").create_engine_config().model_config


@pytest.fixture(scope="module")
def layers(model_config):
    from handler.engines.vllm.adapters.layers import Layers

    return Layers(model_config, only_language=True)


def files(layer, inputs=128, outputs=128, base=None):
    return AdapterFiles(4, {layer: Change(inputs, outputs, 4)}, base)


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model."])
def test_layers_go_by_their_names_of_today_and_of_old(layers, prefix):
    layers.check(files(f"{prefix}layers.0.self_attn.q_proj"))
    layers.check(files(f"{prefix}layers.2.self_attn.v_proj", outputs=64))
    layers.check(files(f"{prefix}layers.1.mlp.down_proj", inputs=320))


@pytest.mark.parametrize(
    ("layer", "sizes", "words"),
    [
        (f"model.{Q_PROJ}", (64, 128), "64 inputs and 128 outputs, but the layer has 128 and 128"),
        (f"model.{Q_PROJ}", (128, 129), "128 inputs and 129 outputs"),
        (f"model.{Q_PROJ}".replace("0", "3"), (128, 128), "no such layer"),
        ("model.layers.0.self_attn.q_proj", (128, 128), "no such layer"),
        ("model.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj", (128, 128), "TOWER_CONNECTOR_LORA=true"),
        ("model.multi_modal_projector.linear_1", (128, 128), "TOWER_CONNECTOR_LORA=true"),
    ],
)
def test_a_change_that_has_no_place_in_the_model_is_refused(layers, layer, sizes, words):
    with pytest.raises(InvalidRequest, match=words) as refused:
        layers.check(files(layer, *sizes, base="their/base"))
    assert refused.value.code == "adapter_does_not_fit"
    assert "their/base" in str(refused.value)


def test_towers_that_are_served_may_be_changed(model_config):
    from handler.engines.vllm.adapters.layers import Layers

    Layers(model_config, only_language=False).check(files("model.multi_modal_projector.linear_1"))


def test_a_tower_that_vllm_miscounts_is_refused_before_it_is_loaded():
    from handler.engines.vllm.loading import start

    arguments = {"model": str(MODEL), "dtype": "float32", "enable_lora": True, "enable_tower_connector_lora": True}
    with pytest.raises(StartError, match="Remove OPTION_ENABLE_TOWER_CONNECTOR_LORA"):
        asyncio.run(start(VllmSettings(arguments, ("demo",))))


def test_the_ranks_are_those_of_vllm():
    from vllm.config.lora import MaxLoRARanks

    assert typing.get_args(MaxLoRARanks) == RANKS


def test_what_is_computed_with_one_loading_is_not_found_by_the_next():
    from vllm.lora.request import LoRARequest
    from vllm.v1.core.kv_cache_utils import _gen_lora_extra_hash_keys
    from vllm.v1.engine.input_processor import InputProcessor

    first, second = (LoRARequest(f"cats#{n}", n, f"/kept/{n}") for n in (1, 2))
    towers = SimpleNamespace(lora_config=SimpleNamespace(enable_tower_connector_lora=True))
    images = {InputProcessor._get_mm_identifier(towers, "hash", request) for request in (first, second, None)}
    assert len(images) == 3
    prompts = [_gen_lora_extra_hash_keys(SimpleNamespace(lora_request=request)) for request in (first, second, None)]
    assert len(set(map(str, prompts))) == 3


def test_vllm_finds_adapters_where_ours_are_put():
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.lora.request import LoRARequest

    request = LoRARequest("a/cat.s#12", 12, "/kept")
    models = SimpleNamespace(lora_requests={"a/cat.s#12": request})
    serving, asked = SimpleNamespace(models=models), SimpleNamespace(model="a/cat.s#12")
    assert OpenAIServingChat._maybe_get_adapters(serving, asked) is request


def test_a_dead_engine_is_not_the_adapters_fault(model_config, tmp_path):
    from vllm.v1.engine.exceptions import EngineDeadError

    from handler.engines.vllm.adapters.served import VllmAdapters

    class DeadLlm:
        """What AsyncLLM is once its engine has died; tests/test_engine_adapters.py has a live one."""

        vllm_config = SimpleNamespace(
            lora_config=SimpleNamespace(max_lora_rank=8, enable_tower_connector_lora=False),
            load_config=SimpleNamespace(download_dir=None),
        )

        def __init__(self):
            self.model_config = model_config

        async def add_lora(self, _):
            raise EngineDeadError

    layer = f"base_model.model.model.{Q_PROJ}"
    shapes = {f"{layer}.lora_A.weight": (4, 128), f"{layer}.lora_B.weight": (128, 4)}
    adapter = Adapter("cats", str(write_adapter(tmp_path, shapes)), "there")
    with pytest.raises(EngineDead):
        asyncio.run(VllmAdapters(DeadLlm(), SimpleNamespace(lora_requests={})).load(adapter))


def test_a_worker_extension_of_ones_own_cannot_stand_beside_ours():
    from handler.engines.vllm.adapters.cpu_patch import with_worker_extension

    assert with_worker_extension({"enable_lora": False, "worker_extension_cls": "a.B"}) == {
        "enable_lora": False,
        "worker_extension_cls": "a.B",
    }
    with pytest.raises(StartError, match="OPTION_WORKER_EXTENSION_CLS"):
        with_worker_extension({"enable_lora": True, "worker_extension_cls": "a.B"})


@pytest.mark.parametrize(("kind", "kept"), [("vllm", False), ("ours", True)])
def test_rows_of_the_model_are_kept_beside_adapters_on_a_cpu(kind, kept):
    """vLLM's own does not keep them; once it does, handler/engines/vllm/adapters/cpu_patch.py can go."""
    import torch
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    from handler.engines.vllm.adapters.cpu_patch import PatchedPunica

    wrapper = {"vllm": PunicaWrapperCPU, "ours": PatchedPunica}[kind](16, max_batches=4, device="cpu")
    wrapper.update_metadata(LoRAMapping((0, 1, 0), (0, 1, 0), is_prefill=True), [1, 2], 2, 8)
    a, b = torch.ones(2, 1, 2, 4), torch.ones(2, 1, 4, 2)
    linear, logits = torch.zeros(3, 4), torch.zeros(3, 4)
    wrapper.add_lora_linear(linear, torch.ones(3, 4), (a,), (b,), 1.0, (4,))
    wrapper.add_lora_logits(logits, torch.ones(3, 4), a, b, 1.0)
    for changed in (linear, logits):
        assert (changed[1] == 8).all()
        assert (changed[[0, 2]] == 0).all() == kept


def test_a_model_of_the_hub_is_looked_up_where_it_was_downloaded_to(tmp_path):
    from handler.engines.vllm.adapters.layers import _checkpoint

    home = tmp_path / "models--their--model"
    snapshot = home / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0" * 40)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_bytes((MODEL / name).read_bytes())
    named = SimpleNamespace(model="their/model", revision=None)
    assert _checkpoint(named, str(tmp_path))["language_model.model.norm.weight"] == (128,)
    assert _checkpoint(SimpleNamespace(model="their/other", revision=None), str(tmp_path)) == {}


def test_a_checkpoint_that_cannot_be_looked_at_is_told_and_refuses_nothing(model_config, tmp_path, caplog):
    from handler.engines.vllm.adapters.layers import Layers

    elsewhere = copy.copy(model_config)
    elsewhere.model = str(tmp_path)
    Layers(elsewhere, only_language=True).check(files("model.language_model.layers.99.q_proj"))
    assert "cannot be checked against the model" in caplog.text
