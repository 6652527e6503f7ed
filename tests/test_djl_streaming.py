"""Streams of a transformers model, made here with random weights."""

import pytest

from handler.djl.djl_python.streaming_utils import StreamingUtils


@pytest.fixture(scope="module")
def model_and_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<unk>", "the", "quick", "fox", "sees", "a", "dog"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # no token is special, so that each one has a text
    config = GPT2Config(vocab_size=len(words), n_embd=8, n_layer=1, n_head=1, n_positions=64, eos_token_id=None)
    return GPT2LMHeadModel(config).eval(), fast


def test_several_inputs_stream_sequentially(model_and_tokenizer):
    generate = StreamingUtils.get_stream_generator("Accelerate")
    pieces = list(generate(*model_and_tokenizer, ["the quick", "a dog"], "cpu", max_new_tokens=3, do_sample=False))
    assert all(len(piece) == 2 and "" in piece for piece in pieces)
    texts = ["".join(piece[index] for piece in pieces) for index in (0, 1)]
    assert [len(text.split()) for text in texts] == [3, 3]


def test_one_input_streams_as_it_is_generated(model_and_tokenizer):
    pieces = StreamingUtils.use_hf_default_streamer(*model_and_tokenizer, ["the fox"], "cpu", max_new_tokens=4)
    assert len("".join(pieces).split()) == 4
    with pytest.raises(TypeError, match="takes one input"):
        StreamingUtils.use_hf_default_streamer(*model_and_tokenizer, ["a", "b"])


def test_a_model_that_fails_fails_the_stream(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    with pytest.raises(ValueError, match="no_such_argument"):
        list(StreamingUtils.use_hf_default_streamer(model, tokenizer, "the", "cpu", no_such_argument=1))


def test_a_dtype_is_found_by_lmis_name():
    import torch

    from handler.djl.djl_python.huggingface import get_torch_dtype_from_str

    assert get_torch_dtype_from_str("bf16") is torch.bfloat16
