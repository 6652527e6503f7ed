import pytest

from tests.option_cases import option, refusal, resolved, write_properties

ON = {"OPTION_ENABLE_LORA": "true"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a=/x", ["a=/x"]),
        ("a=/x b=s3://c/d", ["a=/x", "b=s3://c/d"]),
        ("a=/x,b=y=z", ["a=/x", "b=y=z"]),
        ('{"a": "/x", "b": "y"}', ["a=/x", "b=y"]),
        ('{"name": "a", "path": "/x", "base_model_name": "m"}', ["a=/x"]),
        ('[{"name": "a", "path": "/x y"}, "b=z"]', ["a=/x y", "b=z"]),
    ],
)
def test_adapters_are_named_in_every_form_of_vllm(text, named):
    modules = option("lora_modules", OPTION_LORA_MODULES=text, **ON)
    assert [str(module) for module in modules] == named


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "not name=path"),
        ("a=", "not name=path"),
        ("=x", "not name=path"),
        ("a=x a=y", "twice"),
        ("{", "is not valid JSON"),
        ("[5]", "is not an adapter"),
        ('{"a": 5}', "without a name or a path"),
        ('{"name": "a"}', "without a name or a path"),
        ('{"name": "a", "path": "x", "rank": 5}', "'rank', which is unknown"),
    ],
)
def test_what_names_no_adapter_is_refused_with_the_forms(text, words):
    told = refusal({"OPTION_LORA_MODULES": text, **ON})
    assert words in told
    assert "OPTION_LORA_MODULES=" in told


@pytest.mark.parametrize("name", ["OPTION_LORA_MODULES", "OPTION_DEFAULT_MM_LORAS"])
def test_adapters_that_are_named_but_off_are_refused(name):
    assert "needs LoRA adapters to be enabled; set OPTION_ENABLE_LORA=true" in refusal({name: '{"a": "b"}'})


def test_vllm_is_told_what_adapters_may_be():
    told = resolved({**ON, "OPTION_MAX_LORA_RANK": "20", "OPTION_MAX_CPU_LORAS": "9"}).options.vllm_arguments()
    named = ("enable_lora", "max_loras", "max_lora_rank", "max_cpu_loras")
    assert [told[name] for name in named] == [True, 4, 32, 9]
    assert "lora_modules" not in told
    assert not [name for name in resolved({}).options.vllm_arguments() if "lora" in name]


def test_a_rank_that_vllm_has_no_kernel_for_is_refused():
    assert "more than 512" in refusal({"OPTION_MAX_LORA_RANK": "513"})


def test_directories_for_adapters_are_absolute():
    assert option("adapter_directories", OPTION_ADAPTER_DIRECTORIES="/a,/b") == ("/a", "/b")
    assert "begin it with a slash" in refusal({"OPTION_ADAPTER_DIRECTORIES": "a"})


def test_serving_properties_has_the_same_names(directory):
    write_properties(directory, "option.enable_lora=true\noption.max_loras=2\noption.lora_modules=a=/x\n")
    options = resolved({}, directory).options
    assert (options.enable_lora, options.max_loras, str(options.lora_modules[0])) == (True, 2, "a=/x")


def test_management_is_off_unless_it_is_switched_on():
    assert option("enable_management") is None
    assert option("enable_management", OPTION_ENABLE_MANAGEMENT="true") is True
