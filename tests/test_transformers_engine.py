import asyncio
import json
import threading
import time

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from handler.engine import Adapter, ImageEmbeds  # noqa: E402
from handler.errors import (  # noqa: E402
    EngineDead,
    EngineFailure,
    InvalidRequest,
    StartError,
    Unavailable,
    UnknownAdapter,
)
from tests.small_engine import answer, ask, build, chat, ids, image, leave_after, start, texts  # noqa: E402

# transformers calls its own mllama by a name that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`hidden_state` is deprecated:FutureWarning")

TEXT = "Name the capital of France."
WHAT = "What is in the image?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return build("mllama", tmp_path_factory.mktemp("mllama"))


@pytest.fixture(scope="module")
def engine(checkpoint):
    made = start(checkpoint, max_rows=16)
    yield made
    asyncio.run(made.stop())


def prompts():
    """16 that differ in length, in the number of images and in their sizes."""
    return [
        chat(*[image(number, 40 + 30 * number) for number in range(count)], WHAT + " Why?" * (4 * repeat))
        for repeat in range(4)
        for count in (0, 1, 2, 3)
    ]


def test_sixteen_at_once_are_answered_as_one_at_a_time(engine):
    alone = [answer(engine, prompt) for prompt in prompts()]

    async def together():
        return await asyncio.gather(*(ask(engine, prompt) for prompt in prompts()))

    assert [ids(deltas) for deltas in asyncio.run(together())] == [ids([delta]) for delta in alone]
    assert len({tuple(ids([delta])) for delta in alone}) > 4, "the answers do not depend on the prompts"


def test_an_engine_whose_model_hangs_makes_no_step_and_can_be_killed(checkpoint):
    engine = start(checkpoint)
    hangs, goes_on = threading.Event(), threading.Event()
    step = engine._worker._decoder.step

    def hang(*arguments):
        hangs.set()
        goes_on.wait(60)
        return step(*arguments)

    engine._worker._decoder.step = hang

    async def story():
        assert engine.steps() == {}
        asking = asyncio.create_task(ask(engine, chat(TEXT)))
        await asyncio.to_thread(hangs.wait, 60)
        assert engine.steps() == {0: 1}, "the prompt has been read"
        await engine.kill()
        with pytest.raises(EngineDead):
            await asking
        with pytest.raises(EngineDead):
            await engine.check()

    asyncio.run(story())
    goes_on.set()
    asyncio.run(engine.stop())


def test_a_request_joins_others_that_are_under_way(engine):
    late = chat(image(1), WHAT)

    async def join():
        running = asyncio.create_task(ask(engine, chat("Why? " * 50, max_tokens=200, ignore_eos=True)))
        await asyncio.sleep(0.2)
        deltas = await ask(engine, late)
        assert not running.done(), "it waited for the other"
        running.cancel()
        return deltas

    assert ids(asyncio.run(join())) == ids([answer(engine, late)])


def test_a_stream_has_a_chunk_for_each_token_and_the_prompt_once(engine):
    whole = answer(engine, chat(TEXT))
    chunks = asyncio.run(ask(engine, chat(TEXT, stream=True)))
    assert [len(chunk.tokens) for chunk in chunks] == [1] * len(whole.tokens)
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == whole.finish_reason == "length"
    assert chunks[0].prompt == whole.prompt
    assert not any(chunk.prompt for chunk in chunks[1:])


def test_several_completions_differ_by_their_seeds_and_repeat(engine):
    prompt = chat(image(1), WHAT, n=3, temperature=1.5, seed=4)
    deltas = asyncio.run(ask(engine, prompt))
    assert sorted(delta.index for delta in deltas) == [0, 1, 2]
    by_index = {delta.index: ids([delta]) for delta in deltas}
    assert len({tuple(one) for one in by_index.values()}) == 3
    assert {delta.index: ids([delta]) for delta in asyncio.run(ask(engine, prompt))} == by_index
    assert sum(delta.prompt is not None for delta in deltas) == 1, "the prompt is counted once"


def test_rows_with_samplings_of_their_own_share_a_batch(engine):
    warm = chat(TEXT, temperature=1.2, seed=1, top_k=20)

    async def together():
        return await asyncio.gather(ask(engine, chat(TEXT)), ask(engine, warm), ask(engine, chat(TEXT, min_tokens=3)))

    greedy, drawn, _ = asyncio.run(together())
    assert ids(greedy) == ids([answer(engine, chat(TEXT))])
    assert ids(drawn) == ids([answer(engine, warm)])


def test_a_stop_string_ends_the_completion(engine):
    whole = answer(engine, chat(TEXT)).text
    stop = whole[3:6]
    delta = answer(engine, chat(TEXT, stop=[stop, "absent"]))
    assert delta.text == whole[: whole.index(stop)]
    assert (delta.finish_reason, delta.stop_reason) == ("stop", stop)


def test_a_stop_token_ends_the_completion_and_counts(engine):
    third = answer(engine, chat(TEXT)).tokens[2].id
    delta = answer(engine, chat(TEXT, stop_token_ids=[third]))
    assert (delta.finish_reason, delta.stop_reason) == ("stop", third)
    assert ids([delta])[-1] == third
    assert not delta.text.endswith(engine.tokenizer.decode([third]))


def test_the_models_end_ends_the_completion_unless_it_is_to_be_ignored(engine):
    end = engine.tokenizer.eos_token_id
    towards = {"logit_bias": {str(end): 100}, "max_tokens": 4}
    delta = answer(engine, chat(TEXT, **towards))
    assert (ids([delta]), delta.text, delta.finish_reason, delta.stop_reason) == ([end], "", "stop", None)
    assert answer(engine, chat(TEXT, ignore_eos=True, **towards)).finish_reason == "length"
    assert answer(engine, chat(TEXT, min_tokens=3, **towards)).finish_reason in ("length", "stop")
    assert len(answer(engine, chat(TEXT, min_tokens=3, **towards)).tokens) > 2


def test_logprobs_are_the_models_own_whatever_the_sampling(engine):
    plain = answer(engine, chat(TEXT, max_tokens=1, logprobs=True, top_logprobs=2))
    (token,) = plain.tokens
    assert [one.rank for one in token.likeliest] == [1, 2]
    assert token.logprob == token.likeliest[0].logprob < 0
    unlikely = answer(
        engine, chat(TEXT, max_tokens=1, logprobs=True, top_logprobs=2, logit_bias={"5": 100}, temperature=0.1)
    ).tokens[0]
    assert (unlikely.id, len(unlikely.likeliest)) == (5, 3)
    assert unlikely.rank > 2
    assert unlikely.likeliest[:2] == token.likeliest


def test_raw_prompts_are_continued_each_on_its_own(engine):
    tokens = engine.tokenizer.encode("The image")
    deltas = asyncio.run(ask(engine, texts("The image", tokens, (image(1), WHAT))))
    by_text = {delta.text_index: delta for delta in deltas}
    assert by_text[0].text == by_text[1].text
    assert by_text[0].prompt.length == by_text[1].prompt.length == len(tokens)
    assert set(by_text) == {0, 1, 2}


def test_the_beginning_of_text_is_there_once(engine):
    (begin,) = {engine.tokenizer.bos_token_id}
    written = f"{engine.tokenizer.bos_token}The image"
    for prompt in (chat(TEXT), chat(image(1), WHAT), texts("The image"), texts(written), texts((image(1), WHAT))):
        (rendered,) = asyncio.run(engine.render(prompt))
        assert list(rendered.tokens).count(begin) == 1


def test_a_placeholder_that_a_user_types_is_text(engine):
    token = engine.tokenizer.convert_tokens_to_ids("<|image|>")
    typed = chat(image(1), "What does <|image|> mean, or <|ima", "ge|>?")
    (rendered,) = asyncio.run(engine.render(typed))
    assert list(rendered.tokens).count(token) == 1
    assert rendered.tensors["pixel_values"][0].shape[:2] == (1, 1)
    assert engine.sampling(typed)["max_tokens"] == 12
    assert answer(engine, typed).finish_reason == "length"


def test_a_client_that_leaves_ends_its_row_within_a_step(engine):
    steps = []
    step = engine._worker._decoder.step

    def counted(batch, tokens):
        steps.append(len(tokens))
        return step(batch, tokens)

    engine._worker._decoder.step = counted
    try:
        long = chat(TEXT, stream=True, max_tokens=500, ignore_eos=True)
        asyncio.run(leave_after(engine, long, 3, then=steps.clear))
        time.sleep(0.3)
    finally:
        engine._worker._decoder.step = step
    assert len(steps) <= 2, "the one that ran, and one that had begun"
    assert not engine._worker._rows


def test_a_failure_ends_its_request_alone(engine, monkeypatch):
    prefill = engine._worker._decoder.prefill

    def fail_for_images(group):
        if any(inputs.images for inputs in group):
            raise RuntimeError("a tensor has another shape")
        return prefill(group)

    monkeypatch.setattr(engine._worker._decoder, "prefill", fail_for_images)

    async def both():
        return await asyncio.gather(ask(engine, chat(TEXT)), ask(engine, chat(image(1), WHAT)), return_exceptions=True)

    good, bad = asyncio.run(both())
    assert len(ids(good)) == 12
    assert isinstance(bad, EngineFailure)
    assert "shape" not in str(bad)
    asyncio.run(engine.check())


def test_a_gpu_without_memory_is_worth_a_retry(engine, monkeypatch):
    def full(batch, tokens):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(engine._worker._decoder, "step", full)
        with pytest.raises(Unavailable, match="memory is full"):
            answer(engine, chat(TEXT))
    assert len(answer(engine, chat(TEXT)).tokens) == 12


@pytest.mark.parametrize("method", ["prefill", "step"])
def test_a_gpu_that_has_failed_ends_the_engine(checkpoint, monkeypatch, method):
    broken = start(checkpoint)

    def fail(*arguments):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(broken._worker._decoder, method, fail)
    for _ in range(2):  # the second comes when nothing runs any more
        with pytest.raises(EngineDead):
            answer(broken, chat(TEXT))
    with pytest.raises(EngineDead):
        asyncio.run(broken.check())
    asyncio.run(broken.stop())


def test_what_the_model_cannot_take_is_refused_in_words(engine):
    for prompt, param, words in (
        (chat("Why? " * 5000), "messages", "the model's context is 4096"),
        (texts("Why? " * 5000), "prompt", "Send less text"),
        (texts([5] * 5000), "prompt", "the model's context is 4096"),
        (texts([5, 100_000]), "prompt", "no token 100000"),
        (chat(TEXT, max_tokens=5000), "max_tokens", "at most"),
        (chat(ImageEmbeds("", "messages[0].content[0]")), "messages[0].content[0]", "send the image itself"),
        (chat(TEXT, chat_template_kwargs=[1]), "chat_template_kwargs", "object"),
        (
            chat(TEXT, continue_final_message=True, add_generation_prompt=True),
            "continue_final_message",
            "exclude each other",
        ),
    ):
        with pytest.raises(InvalidRequest, match=words) as refusal:
            answer(engine, prompt)
        assert refusal.value.param == param


def test_adapters_are_refused_in_words(engine):
    with pytest.raises(InvalidRequest, match="adapters need vLLM"):
        asyncio.run(engine.load_adapter(Adapter("mine", "/tmp", "s3://x")))
    with pytest.raises(UnknownAdapter):
        asyncio.run(engine.unload_adapter("mine"))


def test_tokens_become_text(engine):
    tokens = engine.tokenizer.encode(TEXT, add_special_tokens=False)
    assert asyncio.run(engine.detokenize(tokens)) == TEXT
    with pytest.raises(InvalidRequest, match="no token"):
        asyncio.run(engine.detokenize([10**6]))


def test_the_loop_stays_free_while_the_model_computes(engine):
    async def longest_pause():
        running = asyncio.create_task(ask(engine, chat("Why? " * 200, max_tokens=60, ignore_eos=True)))
        longest, last = 0.0, time.perf_counter()
        while not running.done():
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        return longest

    # A step of the model takes longer than that where it blocks the loop; the bound leaves room for a busy machine.
    assert asyncio.run(longest_pause()) < 1


def test_a_stop_ends_what_is_under_way(checkpoint):
    made = start(checkpoint)

    async def stop_soon():
        running = asyncio.create_task(ask(made, chat(TEXT, max_tokens=2000, ignore_eos=True)))
        await asyncio.sleep(0.2)
        await made.stop()
        with pytest.raises(EngineDead):
            await running

    asyncio.run(stop_soon())


@pytest.mark.parametrize("harm", ["missing", "shape", "truncated"])
def test_broken_weights_are_refused_at_the_start(checkpoint, tmp_path, harm):
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    name = "multi_modal_projector.weight"
    if harm == "missing":
        del tensors[name]
    elif harm == "shape":
        tensors[name] = tensors[name][:3].clone()
    save_file(tensors, weights, metadata={"format": "pt"})
    if harm == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(StartError, match=str(tmp_path)):
        start(tmp_path)


def test_a_context_longer_than_the_models_is_refused(checkpoint):
    with pytest.raises(StartError, match="OPTION_MAX_MODEL_LEN=9000 is more than the context"):
        start(checkpoint, max_model_len=9000)


def test_a_checkpoint_without_a_chat_template_continues_texts_only(checkpoint, tmp_path):
    for file in checkpoint.iterdir():
        if file.name != "chat_template.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    bare = start(tmp_path)
    try:
        assert not bare.card.has_chat_template
        assert len(answer(bare, texts("The image")).tokens) == 12
    finally:
        asyncio.run(bare.stop())


@pytest.mark.parametrize("form", ["a path", "a text"])
def test_the_operators_template_wins_and_may_take_texts_only(checkpoint, tmp_path, form):
    template = "{{ bos_token }}{% for message in messages %}{{ 'Q: ' + message['content'] }}{% endfor %}{{ ' A:' }}"
    (tmp_path / "t.jinja").write_text(template)
    own = start(checkpoint, chat_template=str(tmp_path / "t.jinja") if form == "a path" else template)
    try:
        delta = answer(own, chat(image(1), WHAT))
        assert delta.prompt.text.removeprefix(own.tokenizer.bos_token) == f"Q: <|image|>\n{WHAT} A:"
    finally:
        asyncio.run(own.stop())


def test_a_template_that_is_not_there_is_refused(checkpoint):
    with pytest.raises(StartError, match=r"OPTION_CHAT_TEMPLATE=.*cannot be read"):
        start(checkpoint, chat_template="/none.jinja")


def test_fuyu_has_its_image_before_the_text_without_a_placeholder(tmp_path):
    fuyu = start(build("fuyu", tmp_path))
    try:
        assert (fuyu.card.max_images, fuyu.card.placeholder, fuyu.card.has_chat_template) == (1, None, True)
        raw = answer(fuyu, texts((image(1), "What is it?\n")))
        assert raw.prompt.text == "What is it?\n"
        asked = answer(fuyu, chat(image(1), "What is it?"))
        assert ids([asked]) == ids([raw])
    finally:
        asyncio.run(fuyu.stop())


def test_a_checkpoint_names_its_defaults(engine, checkpoint):
    assert json.loads((checkpoint / "generation_config.json").read_text())["temperature"] == 0.6
    assert engine._defaults["temperature"] == 0.6
