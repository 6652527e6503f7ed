import pytest

from handler.engines.vllm.parameter_sizes import check_sizes
from handler.errors import InvalidRequest


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"bad_words": None, "stop": None, "logit_bias": None},
        {"bad_words": ["word"] * 128},
        {"stop": "END", "logit_bias": {str(i): 1 for i in range(10_000)}},
        {"chat_template_kwargs": {"enable_thinking": False}, "documents": [{"title": "a", "text": "b" * 100_000}]},
        {"bad_words": 5, "stop": {"a": 5}, "logit_bias": "a"},  # vLLM says what these must be
    ],
)
def test_what_clients_send_passes(parameters):
    check_sizes(parameters)


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ({"bad_words": ["a"] * 129}, "128 entries"),
        ({"bad_words": ["a" * 9000, "b" * 1000]}, "10000 characters"),
        ({"logit_bias": {str(i): 1 for i in range(10_001)}}, "10000 entries"),
        ({"stop_token_ids": [1] * 10_001}, "10000 entries"),
        ({"stop": ["a" * 100_000]}, "100000 characters"),
        ({"stop": "a" * 100_001}, "100000 characters"),
        ({"chat_template_kwargs": {"a": {"b": ["c" * 2**20]}}}, "1048576 characters"),
        ({"chat_template_kwargs": {"a" * 2**20: 1}}, "1048576 characters"),
        ({"chat_template_kwargs": {"a": [[]] * 2**20}}, "1048576 characters"),
        ({"documents": [{"text": "a" * 2**21}] * 2}, "4194304 characters"),
    ],
)
def test_more_than_that_is_refused_by_name(parameters, limit):
    with pytest.raises(InvalidRequest) as refused:
        check_sizes({"temperature": 0, **parameters})
    assert refused.value.param == next(iter(parameters))
    assert f"at most {limit}" in str(refused.value)
