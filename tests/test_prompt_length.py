import pytest

from handler.engine import ModelCard
from handler.errors import InvalidRequest
from handler.prompt_length import check_length, new_tokens, texts_in


def card(max_model_len, longest):
    return ModelCard(("mine",), max_model_len, supports_images=True, max_characters=max_model_len * longest)


@pytest.mark.parametrize(
    ("max_model_len", "longest", "limit"),
    [
        (2048, 10, 20_480),  # what the vocabulary allows
        (2048, 1000, 2**20),  # what a tokenizer reads in a second
        (131_072, 128, 16 * 131_072),  # sixteen characters a token
    ],
)
def test_a_prompt_may_have_so_many_characters_and_no_more(max_model_len, longest, limit):
    check_length(["x" * (limit - 1), "x"], card(max_model_len, longest), "messages", {})
    with pytest.raises(InvalidRequest, match=f"has {limit + 1} characters.* at most {limit} ") as refusal:
        check_length(["x" * limit, "x"], card(max_model_len, longest), "messages", {})
    assert (refusal.value.param, refusal.value.code) == ("messages", "prompt_too_long")


def test_so_much_of_a_prompt_that_is_to_be_truncated_is_read():
    truncated = {"truncate_prompt_tokens": 10}
    check_length(["x" * 2**20], card(2048, 10), "prompt", truncated)
    with pytest.raises(InvalidRequest, match=f"at most {2**20} "):
        check_length(["x" * (2**20 + 1)], card(2048, 10), "prompt", truncated)


def test_without_a_vocabulary_nothing_is_refused():
    check_length(["x" * 2**22], ModelCard(("mine",), 10, supports_images=True), "prompt", {})


def test_the_texts_of_a_value_are_its_names_as_well():
    assert list(texts_in({"a": ["b", {"c": 1}], "d": None})) == ["a", "b", "c", "d"]


def test_a_length_with_the_prompt_leaves_the_rest_to_the_answer():
    assert new_tokens(50, 49) == 1
    with pytest.raises(InvalidRequest, match=r"`max_length` is 50, .* has 50 tokens") as refusal:
        new_tokens(50, 50)
    assert refusal.value.param == "max_length"
