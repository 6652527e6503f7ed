import re
from pathlib import Path

import pytest

from handler.engines.placeholders import PlaceholderEscaper, escaper_of

MODEL = Path(__file__).parent.parent / "demo" / "model"
BLANK = PlaceholderEscaper(re.compile("<image>"), " ")


@pytest.mark.engine  # it imports transformers
@pytest.mark.filterwarnings("default")
def test_the_separator_is_one_that_breaks_the_tokens_of_the_tokenizer():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    escaper = escaper_of(["<image>", "<|picture_1|>"], tokenizer)
    token = tokenizer.convert_tokens_to_ids("<image>")
    assert token in tokenizer.encode("a<image>b")
    assert token not in tokenizer.encode(escaper.escape("a<image>b"))
    assert escaper.escape("see <|picture_12|>") != "see <|picture_12|>"
    assert escaper.escape("an image, <b>bold</b>") == "an image, <b>bold</b>"


def test_a_placeholder_is_broken_in_texts_in_keys_and_where_texts_meet():
    assert BLANK.escape("a<image>b") == "a< image>b"
    assert BLANK.escape_json({"<image>": ["<image>", 1, None]}) == {"< image>": ["< image>", 1, None]}
    assert list(BLANK.escape_run(["AAA <ima", "ge> B"])) == ["AAA <ima", " ge> B"]


def test_a_model_without_placeholders_has_nothing_to_escape():
    none = PlaceholderEscaper(None, "")
    assert none.escape("<image>") == "<image>"
    assert list(none.escape_run(["<im", "age>"])) == ["<im", "age>"]


def test_a_token_that_comes_together_across_images_and_messages_is_broken():
    # Templates that put all images first, or nothing between messages, join what stood apart.
    escape = BLANK.run_of_texts()
    assert "<image>" not in escape("look <ima") + escape("ge>: what?") + escape("<im") + escape("age") + escape(">")
