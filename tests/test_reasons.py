"""What vLLM and transformers raise at a start, in the words of our options."""

import pytest

from handler.engines.vllm.reasons import is_pointer, reason


def raised(*chain):
    """An exception whose causes are the rest of the chain."""
    outer = None
    for fault in reversed(chain):
        fault.__cause__ = outer
        outer = fault
    return outer


SENTENCES = {
    "code of the repository": (
        ValueError(
            "... has custom code. Please pass the argument `trust_remote_code=True` to allow custom code to be run."
        ),
        "set OPTION_TRUST_REMOTE_CODE=true",
    ),
    "unknown type": (
        ValueError(
            "The checkpoint you are trying to load has model type `zoo` but Transformers does not recognize this architecture. "
            "You can update Transformers with the command `pip install --upgrade transformers`."
        ),
        "does not know the model type zoo. Use an image with newer packages",
    ),
    "unknown quantisation": (
        ValueError("Unknown quantization method: bitsandbytes. Must be one of ['awq', 'fp8']."),
        "cannot read weights quantised by bitsandbytes. Use the checkpoint that is not quantised",
    ),
    "kernel of another processor": (
        ValueError("Failed to find a kernel that can implement the linear layer. Reasons:\n X requires AMX"),
        "Reasons: X requires AMX. Quantised weights of this kind need another CPU or a GPU.",
    ),
    "type of the computation": (
        ValueError("torch.float32 is not supported for quantization method awq."),
        "Set OPTION_DTYPE=bf16 or fp16.",
    ),
    "absent package": (ModuleNotFoundError("No module named 'timm.layers'"), "with `pip install timm`"),
    "absent package of transformers": (
        ImportError(
            "requires the following packages that were not found in your environment: einops. Run `pip install"
        ),
        "with `pip install einops`",
    ),
    "absent field": (
        AttributeError("'LlavaConfig' object has no attribute 'projector_dim'"),
        "no attribute 'projector_dim'. A field is missing in config.json",
    ),
    "unknown tensor": (
        KeyError("layers.0.mlp.foo.weight"),
        "KeyError: 'layers.0.mlp.foo.weight'. The weights have a tensor",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_advice_is_in_the_words_of_our_options(case):
    fault, words = SENTENCES[case]
    assert words in reason(fault)
    assert "trust_remote_code=True" not in reason(fault)
    assert "--upgrade" not in reason(fault)


def test_the_innermost_exception_is_told_as_well():
    assert reason(raised(ValueError("outer"), OSError("inner"))) == "outer (inner)"
    assert reason(raised(ValueError("outer: inner"), OSError("inner"))) == "outer: inner"


def test_a_pointer_to_the_log_gives_way_to_what_it_points_to():
    pointer = RuntimeError("Engine core initialization failed. See root cause above.")
    assert is_pointer(str(pointer))
    assert reason(raised(pointer, OSError("inner"))) == "inner"


def test_the_traceback_of_another_process_is_its_last_line():
    text = "Error raised in subprocess:\nTraceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'av'"
    assert "`pip install av`" in reason(RuntimeError(text))


def test_an_exception_without_a_message_says_where_it_was_raised():
    def check_shapes():
        assert not SENTENCES

    with pytest.raises(AssertionError) as raising:
        check_shapes()
    bare = AssertionError().with_traceback(raising.value.__traceback__)
    assert reason(bare).startswith("AssertionError in check_shapes (")


def test_an_exception_that_was_handled_is_no_reason():
    def fail():
        try:
            raise ModuleNotFoundError("No module named 'optional'")
        except ModuleNotFoundError:
            raise ValueError("The model needs 40 GiB.") from None

    with pytest.raises(ValueError, match="40 GiB") as raised:
        fail()
    assert reason(raised.value) == "The model needs 40 GiB."
