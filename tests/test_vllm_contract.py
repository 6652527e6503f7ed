"""What the adapter relies on in vLLM's internals, shown on vLLM itself without starting an engine."""

import asyncio
import dataclasses
import inspect
import io
import json
import re
from pathlib import Path

import pytest
from blake3 import blake3
from PIL import Image

from container.options import TABLE
from handler.checkpoint.memory import context_length, kv_cache
from handler.engine import ChatPrompt, Message, PromptImage
from handler.engines import vllm as engine
from handler.engines.vllm.launch import VllmSettings
from handler.errors import InvalidRequest, OptionError, RequestError, ServerError, StartError
from handler.media.images import LazyImage
from handler.media.limits import MediaLimits
from tests.checkpoints import GEMMA, LLAVA, QWEN

pytestmark = [
    pytest.mark.engine,
    # vLLM's and torch's own; ours would be errors in every other file.
    pytest.mark.filterwarnings("default"),
]

MODEL = Path(__file__).parent.parent / "demo" / "model"


@pytest.fixture(scope="module")
def config():
    from vllm.engine.arg_utils import AsyncEngineArgs

    args = AsyncEngineArgs(model=str(MODEL), dtype="float32", limit_mm_per_prompt={"image": 4})
    return args.create_engine_config()


@pytest.fixture(scope="module")
def renderer(config):
    from vllm.renderers import renderer_from_config

    renderer = renderer_from_config(config)
    yield renderer
    renderer.shutdown()


def test_the_names_read_from_vllms_source_are_its_fields():
    from vllm.engine.arg_utils import AsyncEngineArgs

    fields = {field.name for field in dataclasses.fields(AsyncEngineArgs) if not field.name.startswith("_")}
    assert engine.field_names() == fields


def test_every_option_of_ours_that_names_an_engine_argument_names_a_real_one():
    named = {option.declared.engine for option in TABLE if option.declared.engine}
    assert named - engine.field_names() == set()


def test_constructors_take_every_argument_that_we_give_them():
    from handler.engines.vllm.serving import check_constructors

    check_constructors()


def test_an_argument_that_a_constructor_lacks_fails_the_start_by_name():
    from vllm.renderers.online_renderer import OnlineRenderer

    from handler.engines.vllm.serving import check_constructors

    with pytest.raises(StartError, match=r"OnlineRenderer does not take colour, sound\. Install the version of vLLM"):
        check_constructors({OnlineRenderer: frozenset({"model_config", "sound", "colour"})})


def test_the_table_of_failures_knows_every_exception_of_vllm():
    from vllm import exceptions

    from handler.engines.vllm.failures import TABLE as FAILURES

    theirs = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, Exception)]
    for kind in theirs:
        row = next((ours for listed, ours in FAILURES if issubclass(kind, listed)), None)
        assert row is not None, kind
        client = issubclass(kind, exceptions.VLLMClientError)
        assert issubclass(row, RequestError if client else ServerError), kind


def test_an_error_names_options_and_hides_internals():
    from vllm.exceptions import VLLMValidationError

    from handler.engines.vllm.failures import translate

    told = translate(
        VLLMValidationError("Set `--limit-mm-per-prompt` at <X at 0x7f>", parameter="image", value="P" * 99)
    )
    assert str(told) == "Set `OPTION_LIMIT_MM_PER_PROMPT` at <X>"
    assert told.param == "image"
    hidden = translate(RuntimeError("/root/secret.py line 3"))
    assert isinstance(hidden, ServerError)
    assert "secret" not in str(hidden)


def test_a_vision_checkpoint_that_resolves_to_text_only_is_refused(tmp_path):
    from transformers import ChameleonConfig

    from handler.engines.vllm.loading import start

    # vLLM dropped Chameleon, and takes its configuration for that of a language model.
    ChameleonConfig(
        architectures=["ChameleonForConditionalGeneration"], hidden_size=64, num_attention_heads=2, num_hidden_layers=1
    ).save_pretrained(tmp_path)
    settings = VllmSettings({"model": str(tmp_path), "skip_tokenizer_init": True}, ("blind",))
    with pytest.raises(StartError, match=r"vision checkpoint .* Chameleon\w+ as text only .*LANGUAGE_MODEL_ONLY"):
        asyncio.run(start(settings))


def test_media_are_interleaved_only_with_placeholders_that_the_model_has(tmp_path):
    from transformers import PaliGemmaConfig

    from handler.engines.vllm.configuration import create_config

    def interleaved(model):
        settings = VllmSettings({"model": str(model), "dtype": "float32", "interleave_mm_strings": True}, ("m",))
        return create_config(settings).model_config.multimodal_config.interleave_mm_strings

    PaliGemmaConfig(architectures=["PaliGemmaForConditionalGeneration"]).save_pretrained(tmp_path)
    assert not interleaved(tmp_path)
    assert interleaved(MODEL)


@pytest.fixture(scope="module")
def texts(config, renderer):
    from handler.engines.vllm.placeholders import placeholder_escaper

    return placeholder_escaper(config.model_config, renderer.tokenizer)


def test_a_typed_placeholder_never_becomes_the_models_token(texts, renderer):
    tokenizer = renderer.tokenizer
    token = tokenizer.convert_tokens_to_ids("<image>")
    for text in ("<image>", "a<image><image>b", "<<image>>", "<##IMAGE##>"):
        assert token in tokenizer.encode("<image>", add_special_tokens=False)
        assert token not in tokenizer.encode(texts.escape(text), add_special_tokens=False)
        assert texts.escape(text) != text
    assert texts.escape("an image, <b>bold</b>") == "an image, <b>bold</b>"
    assert texts.escape_json({"a": ["<image>", 1, None]})["a"][1:] == [1, None]


def test_a_placeholder_that_comes_together_from_parts_is_pushed_apart(texts, renderer):
    token = renderer.tokenizer.convert_tokens_to_ids("<image>")
    for parts in (["AAA <ima", "ge> B"], ["<", "im", "ag", "e>"], ["<image", ">"]):
        joined = "".join(texts.escape_run(parts))
        assert token not in renderer.tokenizer.encode(joined, add_special_tokens=False), parts
    assert list(texts.escape_run(["a red", " circle", "<"])) == ["a red", " circle", "<"]


def test_a_placeholder_in_tools_arguments_and_template_values_is_text(texts):
    from handler.engines.vllm.requests import chat_request

    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "\\u003cimage\\u003e"}'}}
    messages = (Message("assistant", None, {"tool_calls": [call]}), Message("user", "hi"))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"<image>": {}}}}}
    parameters = {"tools": [tool], "chat_template_kwargs": {"today": "<image>"}}
    request = chat_request(ChatPrompt(messages=messages, parameters=parameters, request_id="id"), texts, 128)
    arguments = request.messages[0]["tool_calls"][0]["function"]["arguments"]
    assert "<image>" not in json.loads(arguments)["a"]
    assert "<image>" not in request.tools[0].function.parameters["properties"]
    assert "<image>" not in request.chat_template_kwargs["today"]


@pytest.mark.parametrize(
    "parameters", [{"chat_template": "{{ 1 }}"}, {"mm_processor_kwargs": {"a": 1}}, {"media_io_kwargs": {"image": {}}}]
)
def test_a_request_brings_no_template_and_no_processor_arguments(texts, renderer, parameters):
    from handler.engines.vllm.failures import translate, translate_response

    try:
        error = _render(renderer, _request(texts, "hi", **parameters)).error
        refused = translate_response(
            error.message, error.code, error.param
        )  # vLLM answers some faults in place of raising
    except Exception as fault:  # noqa: BLE001  # whichever of vLLM's it is, it has to be the client's fault
        refused = translate(fault)
    assert isinstance(refused, InvalidRequest)


def _image(color="red", encoded=None, size=(90, 60)):
    if encoded is None:
        file = io.BytesIO()
        Image.new("RGB", size, color).save(file, "PNG")
        encoded = file.getvalue()
    return PromptImage(Image.open(io.BytesIO(encoded)).convert("RGB"), encoded, blake3(encoded).hexdigest(), "p")


def _request(texts, *content, **parameters):
    from handler.engines.vllm.requests import chat_request

    prompt = ChatPrompt(messages=(Message("user", content),), parameters=parameters, request_id="id")
    return chat_request(prompt, texts, 128)


def _render(renderer, request):
    from vllm.renderers.online_renderer import OnlineRenderer

    online = OnlineRenderer(
        renderer.model_config, renderer, request_logger=None, chat_template=None, chat_template_content_format="auto"
    )
    answer = asyncio.run(online.render_chat(request))
    return answer[1][0] if isinstance(answer, tuple) else answer


def test_images_stand_in_the_prompt_where_their_parts_stand(texts, renderer):
    red, blue = _image("red"), _image("blue")
    rendered = _render(renderer, _request(texts, "one ", red, "two ", blue, "three"))
    assert rendered["mm_hashes"]["image"] == [red.digest, blue.digest]
    text = renderer.tokenizer.decode(rendered["prompt_token_ids"])
    assert text.index("one") < text.index("<image>") < text.index("two") < text.rindex("<image>") < text.index("three")


def test_an_image_that_vllm_holds_is_not_decoded_again(texts, renderer):
    class Undecodable(Image.Image):
        """Stands for an image whose pixels must not be asked for."""

        def load(self):
            raise AssertionError("decoded")

    first = _image("green")
    assert not renderer.mm_processor_cache.is_cached_item(first.digest)
    _render(renderer, _request(texts, first))
    assert renderer.mm_processor_cache.is_cached_item(first.digest)
    lazy = Undecodable()
    lazy._mode, lazy._size = "RGB", first.image.size
    _render(renderer, _request(texts, dataclasses.replace(first, image=lazy)))


def test_our_lazy_image_is_one_that_vllm_takes(texts, renderer):
    file = io.BytesIO()
    Image.effect_noise((70, 50), 80).convert("RGB").save(file, "JPEG")
    encoded = file.getvalue()
    plain = _render(renderer, _request(texts, _image(encoded=encoded)))
    lazy = LazyImage(encoded, "0" * 64, (70, 50), MediaLimits())
    salted = PromptImage(lazy, encoded, lazy.digest, "p")  # another key, so that it is processed anew
    again = _render(renderer, _request(texts, salted))
    one, two = (r["mm_kwargs"]["image"][0]["pixel_values"].data for r in (plain, again))
    assert (one == two).all()


def test_guided_fields_of_old_become_structured_outputs(texts):
    request = _request(texts, "hi", guided_choice=["a", "b"])
    assert request.structured_outputs.choice == ["a", "b"]


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"stop": 5}, "stop"),
        ({"response_format": {"type": "x"}}, "response_format"),
    ],
)
def test_a_parameter_of_the_wrong_type_is_named(texts, parameters, param):
    import pydantic

    from handler.engines.vllm.failures import translate

    with pytest.raises(pydantic.ValidationError) as refusal:
        _request(texts, "hi", **parameters)
    told = translate(refusal.value)
    assert isinstance(told, InvalidRequest)
    assert told.param.startswith(param)


def test_a_degree_that_does_not_divide_the_heads_is_refused_in_words():
    from handler.engines.vllm.configuration import create_config, load_errors

    settings = VllmSettings({"model": str(MODEL), "tensor_parallel_size": 3}, ("m",))
    with pytest.raises(StartError) as refusal, load_errors(settings):
        create_config(settings)
    assert str(refusal.value).endswith(
        "Total number of attention heads (4) must be divisible by tensor parallel size (3). "
        "Set OPTION_TENSOR_PARALLEL_DEGREE, which otherwise is the number of GPUs, to a divisor of it."
    )


def parallel(headless=False, **arguments):
    from handler.engines.vllm.configuration import create_config

    return create_config(VllmSettings({"model": str(MODEL), **arguments}, ("m",)), headless=headless).parallel_config


NODES = {"nnodes": 2, "node_rank": 1, "master_addr": "10.0.0.1", "data_parallel_address": "10.0.0.1"}


@pytest.mark.parametrize(
    ("given", "alone"),
    [
        ({}, True),
        ({"data_parallel_size": 2}, True),
        ({"data_parallel_size": 2, **NODES}, True),
        ({"tensor_parallel_size": 2}, False),
        ({"pipeline_parallel_size": 2}, False),
    ],
)
def test_on_a_cpu_a_single_worker_needs_no_process_and_no_shared_memory(monkeypatch, given, alone):
    from vllm.v1.executor.abstract import Executor
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    backend = parallel(**given).distributed_executor_backend
    assert (backend == f"{UniProcExecutor.__module__}.{UniProcExecutor.__name__}") == alone
    assert issubclass(UniProcExecutor, Executor)


def test_whoever_pins_threads_or_names_an_executor_keeps_it(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0-3")
    assert parallel().distributed_executor_backend == "mp"
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    assert parallel(distributed_executor_backend="mp").distributed_executor_backend == "mp"


@pytest.mark.parametrize(
    ("given", "replicas", "first"),
    [
        ({"data_parallel_size": 2}, 1, 1),
        ({"data_parallel_size": 4}, 2, 2),
        ({"data_parallel_size": 2, "tensor_parallel_size": 2}, 1, 1),
        ({"tensor_parallel_size": 2}, 0, 0),  # workers of node 0's engine
    ],
)
def test_vllm_knows_from_the_launch_arguments_what_a_node_computes(given, replicas, first):
    config = parallel(headless=True, **NODES, **given)
    if replicas:
        assert config.node_rank_within_dp == 0
        assert (config.data_parallel_size_local, config.data_parallel_rank) == (replicas, first)
        assert config.data_parallel_master_ip == "10.0.0.1"
        assert not config.local_engines_only
    else:
        assert config.node_rank_within_dp == 1


def test_a_node_without_a_front_end_runs_what_vllm_would_run_there():
    from vllm.entrypoints.cli.serve import run_headless
    from vllm.v1.engine.utils import CoreEngineProcManager
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    from handler.engines.vllm import node

    source = inspect.getsource(run_headless)
    workers, replicas = source.split("if parallel_config.node_rank_within_dp > 0:")[1].split("# Create the engines.")
    assert "MultiprocExecutor(vllm_config, monitor_workers=False)" in workers
    assert "engine_manager.monitor_engine_liveness()" in replicas
    handed = set(re.findall(r"^ {8}(\w+)=", replicas, re.MULTILINE))
    assert handed == set(re.findall(r"^ {8}(\w+)=", inspect.getsource(node._replicas), re.MULTILINE))
    assert handed <= set(inspect.signature(CoreEngineProcManager).parameters)
    assert "monitor_workers" in inspect.signature(MultiprocExecutor).parameters


def test_replicas_that_would_lie_on_several_nodes_are_refused_with_the_arithmetic():
    with pytest.raises(OptionError) as refusal:
        parallel(headless=True, **{**NODES, "nnodes": 4}, data_parallel_size=2, tensor_parallel_size=2)
    assert str(refusal.value).startswith(
        "OPTION_NNODES=4 / OPTION_DATA_PARALLEL_SIZE=2 spreads each replica over 2 nodes, which vLLM does for mixtures of "
        "experts only. Start an engine of 2 nodes for each replica"
    )


def test_which_build_is_installed_is_known_without_importing_it():
    assert engine.cuda() is None  # the tests run with the CPU build


def test_what_is_compiled_ahead_of_time_for_a_cpu_still_cannot_be_loaded():
    # Where this fails, handler/engines/vllm/caches.py need not switch it off any longer.
    from torch._dynamo.aot_compile_types import BundledAOTAutogradSerializableCallable as Compiled
    from vllm.compilation import decorators

    assert ".finalize_loading(" in inspect.getsource(decorators._try_load_aot_compiled_fn)
    assert not hasattr(Compiled, "finalize_loading")


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("LlavaForConditionalGeneration", LLAVA),
        ("Gemma3ForConditionalGeneration", GEMMA),
        ("Qwen2_5_VLForConditionalGeneration", QWEN),
    ],
)
def test_what_check_says_of_cache_and_context_is_what_vllm_derives(tmp_path, architecture, config):
    from vllm.config import ParallelConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], **config}))
    theirs = AsyncEngineArgs(model=str(tmp_path), dtype="bfloat16").create_model_config()
    alone = ParallelConfig()
    layer = 2 * theirs.get_num_kv_heads(alone) * theirs.get_head_size()
    assert kv_cache(config, 2).token_bytes == 2 * layer * theirs.get_num_layers(alone)
    assert context_length(config, {}) == theirs.max_model_len


def test_vllm_has_no_field_of_content_parts_that_would_reach_it_by_another():
    from vllm.renderers import chat_utils

    from handler.payload.parts import RESERVED

    assert chat_utils._KNOWN_CONTENT_PART_FIELDS <= RESERVED
