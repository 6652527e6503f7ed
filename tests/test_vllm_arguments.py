"""Engine arguments as Lumi makes them, against those that vLLM makes of the `vllm serve` line that `check` prints."""

import shlex

import pytest

from container.model_store import locate
from container.options import TABLE, lmi, resolve
from container.options.explanation import vllm_serve_line
from container.start.vllm_settings import vllm_settings
from handler.engines.vllm import field_names
from handler.errors import OptionError
from tests.published_deployments import DEPLOYMENTS, start

pytestmark = [
    pytest.mark.engine,
    # vLLM's and torch's own; ours would be errors in every other file.
    pytest.mark.filterwarnings("default"),
]

# What Lumi has options for: at least one value of each that reaches the engine.
TYPED = {
    "OPTION_REVISION": "main",
    "OPTION_TRUST_REMOTE_CODE": "true",
    "OPTION_SERVED_MODEL_NAME": '["a", "b"]',
    "OPTION_TENSOR_PARALLEL_DEGREE": "4",
    "OPTION_PIPELINE_PARALLEL_DEGREE": "2",
    "OPTION_PREFILL_CONTEXT_PARALLEL_SIZE": "2",
    "OPTION_DATA_PARALLEL_SIZE": "2",
    "OPTION_MAX_MODEL_LEN": "32K",
    "OPTION_MAX_ROLLING_BATCH_SIZE": "7",
    "OPTION_MAX_ROLLING_BATCH_PREFILL_TOKENS": "1.5k",
    "OPTION_DTYPE": "bf16",
    "OPTION_QUANTIZE": "fp8",
    "OPTION_GPU_MEMORY_UTILIZATION": "0.85",
    "OPTION_CPU_OFFLOAD_GB_PER_GPU": "4",
    "OPTION_KV_CACHE_MEMORY_BYTES": "2G",
    "OPTION_ENFORCE_EAGER": "true",
    "OPTION_SEED": "3",
    "OPTION_ENABLE_LORA": "true",
    "OPTION_MAX_LORAS": "2",
    "OPTION_MAX_LORA_RANK": "20",
    "OPTION_MAX_CPU_LORAS": "9",
    "OPTION_LIMIT_MM_PER_PROMPT": '{"image": {"count": 2, "width": 512, "height": 256}, "video": 0}',
    "OPTION_MM_PROCESSOR_KWARGS": '{"size": {"longest_edge": 512}, "do_resize": true, "scale": 0.5, "mean": [1, 2]}',
    "OPTION_ENABLE_MM_EMBEDS": "true",
    "OPTION_ALLOWED_MEDIA_DOMAINS": "a.example,b.example",
    "OPTION_REASONING_PARSER": "qwen3",
}
# What only vLLM has: every kind of value that its parser knows.
TEXTS = {
    "OPTION_BLOCK_SIZE": "64",
    "OPTION_ENABLE_PREFIX_CACHING": "false",
    "OPTION_ASYNC_SCHEDULING": "TRUE",
    "OPTION_INTERLEAVE_MM_STRINGS": "false",
    "OPTION_LOAD_FORMAT": "safetensors",
    "OPTION_KV_CACHE_DTYPE": "fp8",
    "OPTION_MM_PROCESSOR_CACHE_GB": "1.5",
    "OPTION_MAX_NUM_SCHEDULED_TOKENS": "2k",
    "OPTION_HF_OVERRIDES": '{"a": {"b": [1]}}',
    "OPTION_COMPILATION_CONFIG": '{"mode": 3, "cudagraph_capture_sizes": [1, 2]}',
    "OPTION_STRUCTURED_OUTPUTS_CONFIG": '{"backend": "xgrammar"}',
    "OPTION_SPECULATIVE_CONFIG": '{"method": "ngram", "num_speculative_tokens": 2}',
    "OPTION_OVERRIDE_GENERATION_CONFIG": '{"temperature": 0}',
    "OPTION_CUDAGRAPH_CAPTURE_SIZES": "[4, 8]",
    "OPTION_TOKENIZER_REVISION": "None",
}


def settings_of(environ):
    options = resolve({"HF_MODEL_ID": "org/model", **environ}, engine_fields=field_names).options
    return options, vllm_settings(options, locate(options.model_id))


def of_lumi(settings):
    from vllm.engine.arg_utils import AsyncEngineArgs

    from handler.engines.vllm.arguments import parse_texts

    return AsyncEngineArgs(**{**settings.arguments, **parse_texts(settings.texts, settings.described)})


def of_vllm(line):
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    words = shlex.split(line, comments=True)
    assert words[:2] == ["vllm", "serve"]
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(words[2:])
    parsed.model = parsed.model_tag
    return AsyncEngineArgs.from_cli_args(parsed)


@pytest.mark.parametrize("environ", [{}, TYPED, TEXTS, TYPED | TEXTS], ids=["defaults", "typed", "texts", "all"])
def test_the_engine_gets_what_vllm_serve_would_get(environ):
    options, settings = settings_of(environ)
    ours, theirs = of_lumi(settings), of_vllm(vllm_serve_line(options, settings.arguments, settings.names))
    # Of the arguments that are not set, some have another default in vLLM's parser than in its dataclass.
    names = (*settings.arguments, *settings.texts)
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}


def test_every_option_of_the_engine_is_compared():
    declared = {f"OPTION_{option.name.upper()}" for option in TABLE if option.declared.engine}
    assert declared == TYPED.keys()


def test_every_argument_that_vllm_refuses_is_named():
    _, settings = settings_of(
        {"SM_VLLM_KV_CACHE_DTYPE": "float99", "OPTION_BLOCK_SIZE": "many", "OPTION_LOAD_FORMAT": "auto"}
    )
    with pytest.raises(OptionError) as refusal:
        of_lumi(settings)
    first, second = sorted(str(refusal.value).splitlines())
    assert first == "OPTION_BLOCK_SIZE='many': invalid int value: 'many'"
    assert second.startswith("SM_VLLM_KV_CACHE_DTYPE='float99': invalid choice: 'float99'")


def test_an_argument_that_vllm_does_not_have_is_named():
    from handler.engines.vllm.arguments import parse_texts

    with pytest.raises(OptionError, match="OPTION_NO_SUCH_THING='1': is not an argument of this vLLM"):
        parse_texts({"no_such_thing": "1"}, {"no_such_thing": "OPTION_NO_SUCH_THING='1'"})


def test_every_argument_of_vllm_serve_is_known():
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    names = {flag for action in make_arg_parser(FlexibleArgumentParser())._actions for flag in action.option_strings}
    flags = {
        flag[2:].replace("-", "_") for flag in names if flag[2:] == flag.lstrip("-") and not flag.startswith("--no-")
    }
    options = {name for option in TABLE for name in option.names}
    assert flags - options - set(lmi.option_names()) - set(field_names()) == {"help"}


def test_vllm_takes_the_arguments_of_published_deployments(tmp_path):
    from handler.engines.vllm.arguments import parse_texts

    texts = {}  # every text that an argument has anywhere
    for number, one in enumerate(DEPLOYMENTS):
        if one["image"] in ("lmi", "vllm", "tgi") and one["verdict"] != "refused":
            (directory := tmp_path / str(number)).mkdir()
            for name, text in start(one, directory).options.engine_arguments.items():
                texts.setdefault(name, {})[text] = one["source"]
    texts_of, refused = tuple(texts), []
    while texts:  # building vLLM's parser takes long, so it reads one text of each argument at a time
        batch = {name: found.popitem() for name, found in texts.items()}
        texts = {name: found for name, found in texts.items() if found}
        try:
            parse_texts({name: text for name, (text, _) in batch.items()}, {})
        except OptionError as fault:
            refused += str(fault).splitlines()
    names = {name for line in refused for name in texts_of if line.startswith(f"{name}=")}
    # LMI's guide has one with backslashes in its JSON; the other is of LMCache, which is not installed, without its role.
    assert names == {"speculative_config", "kv_transfer_config"}, refused
