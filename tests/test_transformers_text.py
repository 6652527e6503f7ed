import pytest
from transformers import AutoTokenizer

from handler.engines.transformers.parameters import Sampling
from handler.engines.transformers.text import CompletionText
from tests.live import MODEL


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


def pieces(tokenizer, text, **fields):
    """What a stream would send of `text`, and the stop string that ended it."""
    one = CompletionText(tokenizer, tokenizer.encode("Say:"), Sampling(**fields))
    sent, stop = [], None
    for token in tokenizer.encode(text, add_special_tokens=False):
        stop = one.add(token, can_stop=True)
        sent.append(one.take(ended=stop is not None))
        if stop is not None:
            break
    return [*sent, one.take(ended=True)], stop


def test_the_pieces_are_the_text(tokenizer):
    text = " a red circle, and a blue square: 図形 🙂 é"
    sent, stop = pieces(tokenizer, text)
    assert "".join(sent) == text
    assert stop is None
    assert not any("\ufffd" in piece for piece in sent), "half a character was sent"


def test_a_stop_string_ends_the_text_before_it_and_nothing_of_it_is_sent(tokenizer):
    sent, stop = pieces(tokenizer, " one two three four", stop=("two three", "absent"))
    assert "".join(sent) == " one "
    assert stop == "two three"


def test_the_beginning_of_a_stop_string_that_does_not_come_is_sent_later(tokenizer):
    sent, stop = pieces(tokenizer, " one two four", stop=("two three",))
    assert "".join(sent) == " one two four"
    assert stop is None


def test_a_stop_string_may_be_part_of_the_text(tokenizer):
    sent, _ = pieces(tokenizer, " one two three", stop=("two",), include_stop_str_in_output=True)
    assert "".join(sent) == " one two"


def test_no_stop_string_ends_the_text_before_it_may(tokenizer):
    one = CompletionText(tokenizer, (), Sampling(stop=("one",)))
    assert [one.add(token, can_stop=False) for token in tokenizer.encode("one", add_special_tokens=False)][-1] is None
