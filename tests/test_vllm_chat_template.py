"""The template of a chat and its special tokens, with vLLM's own renderer, held against transformers' processor."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from handler.engine import ChatPrompt, Message
from handler.engines.chat_templates import family_template

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

MODEL = Path(__file__).parent.parent / "demo" / "model"
PLAIN = (
    "{% for m in messages %}{{ m['role'] + ': ' }}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}"
)
WITH_BOS = "{{ bos_token }}" + PLAIN


@pytest.fixture
def checkpoint(tmp_path):
    """The model that ships, without weights, with another template (None: without), and a tokenizer that adds `<s>`."""

    def make(template, *, adds_bos=True, **config):
        shutil.copytree(MODEL, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
        if template is None:
            (tmp_path / "chat_template.jinja").unlink()
        else:
            (tmp_path / "chat_template.jinja").write_text(template)
        tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
        bos = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == "<s>")
        if adds_bos:
            tokenizer["post_processor"]["single"].insert(0, {"SpecialToken": {"id": "<s>", "type_id": 0}})
            tokenizer["post_processor"]["special_tokens"] = {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]}}
        (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
        settings = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(settings | config))
        return tmp_path

    return make


def render(directory, given=None, part_fields=None, **parameters):
    """The template that is found, and the token ids of a chat of one text, which may have further fields."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.renderers import renderer_from_config

    from handler.engines.vllm.chat_template import find_chat_template
    from handler.engines.vllm.placeholders import placeholder_escaper
    from handler.engines.vllm.requests import Renderer, chat_request

    config = AsyncEngineArgs(model=str(directory), dtype="float32").create_engine_config()
    renderer = renderer_from_config(config)
    try:
        template = find_chat_template(renderer, config.model_config, given)
        if not template.exists:
            return template, None
        online = Renderer(
            config.model_config,
            renderer,
            request_logger=None,
            chat_template=template.text,
            chat_template_content_format="auto",
        )
        online.adds_special_tokens = template.adds_special_tokens
        messages = [Message("user", ("hi",), part_fields={0: part_fields or {}})]
        prompt = ChatPrompt(request_id="1", messages=messages, parameters=parameters)
        request = chat_request(prompt, placeholder_escaper(config.model_config, renderer.tokenizer), 128)
        _, inputs = asyncio.run(online.render_chat(request))
        return template, inputs[0]["prompt_token_ids"]
    finally:
        renderer.shutdown()


def transformers_ids(directory):
    from transformers import AutoProcessor

    chat = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    processor = AutoProcessor.from_pretrained(directory)
    rendered = processor.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=True)
    return list(rendered["input_ids"][0])


@pytest.mark.parametrize("template", [PLAIN, WITH_BOS])
@pytest.mark.parametrize("adds_bos", [True, False])
def test_the_tokens_of_a_chat_are_those_of_transformers(checkpoint, template, adds_bos):
    directory = checkpoint(template, adds_bos=adds_bos)
    found, ids = render(directory)
    assert ids == transformers_ids(directory)
    assert found.adds_special_tokens == (template == PLAIN)
    assert ids.count(1) == (adds_bos or template == WITH_BOS)  # one <s>, never two


def test_further_fields_of_a_part_reach_the_template_without_placeholders(checkpoint):
    directory = checkpoint(PLAIN.replace("p['text']", "p['text'] + p.source_lang_code"))
    found, ids = render(directory, part_fields={"source_lang_code": " cs <image>"})
    _, without = render(directory, part_fields={"source_lang_code": " cs "})
    assert {"source_lang_code", "messages"} <= found.words
    assert len(ids) > len(without)
    image = json.loads((directory / "config.json").read_text())["image_token_index"]
    assert image not in ids


def test_a_request_decides_otherwise(checkpoint):
    directory = checkpoint(PLAIN)
    _, with_bos = render(directory)
    _, without = render(directory, add_special_tokens=False)
    assert with_bos == [1, *without]


def test_the_operators_template_wins_over_the_checkpoints(checkpoint):
    found, ids = render(checkpoint(PLAIN), given=WITH_BOS)
    assert (found.text, found.adds_special_tokens) == (WITH_BOS, False)
    assert ids.count(1) == 1


def test_a_checkpoint_without_a_template_gets_that_of_its_family(checkpoint):
    found, ids = render(checkpoint(None))
    assert found.exists
    assert "ASSISTANT:" in found.text
    assert ids


def test_a_checkpoint_of_a_family_without_one_has_none(checkpoint):
    directory = checkpoint(None)
    config = json.loads((directory / "config.json").read_text())
    config["text_config"]["model_type"] = "qwen2"
    (directory / "config.json").write_text(json.dumps(config))
    found, _ = render(directory)
    assert not found.exists


VICUNA = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and "
    "polite answers to the human's questions. "
)
CHAT = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "One?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
    {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
]


@pytest.mark.parametrize(
    ("family", "language", "rendered"),
    [
        ("llava", "llama", "USER: <image>\nOne? ASSISTANT: A cat. USER: Sure? ASSISTANT:"),
        ("llava_next", "mistral", "[INST] <image>\nOne? [/INST] A cat.</s> [INST] Sure? [/INST]"),
        (
            "llava_next",
            "llama",
            VICUNA + "USER: <image>\nOne? ASSISTANT: A cat. USER: Sure? ASSISTANT:",
        ),
        ("chameleon", None, "<image>One?<sep>A cat.<sep>Sure?"),
        ("paligemma", None, "<image>One?A cat.Sure?"),
        ("fuyu", None, "One?\nA cat.\nSure?\n"),
    ],
)
def test_a_familys_template_writes_what_its_authors_write(family, language, rendered):
    assert _rendered(family, language, CHAT) == rendered


def test_a_familys_template_takes_texts_in_place_of_parts():
    texts = [{"role": "user", "content": "<|image_1|>\nOne?"}]
    assert _rendered("phi3_v", None, texts) == "<|user|>\n<|image_1|>\nOne?<|end|>\n<|assistant|>\n"
    system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}]
    assert _rendered("llava", "llama", system) == "Be brief. USER: One? ASSISTANT:"
    assert _rendered("llava_next", "mistral", system) == "<<SYS>>\nBe brief.\n<</SYS>>\n\n[INST] One? [/INST]"


def test_a_family_that_ships_templates_has_none_here():
    from transformers import Qwen2VLConfig

    assert family_template(Qwen2VLConfig()) is None


def _rendered(family, language, chat):
    from types import SimpleNamespace

    from transformers.utils.chat_template_utils import render_jinja_template

    config = SimpleNamespace(model_type=family, text_config=SimpleNamespace(model_type=language))
    texts, _ = render_jinja_template(
        [chat], chat_template=family_template(config), add_generation_prompt=True, sep_token="<sep>"
    )
    return texts[0]
