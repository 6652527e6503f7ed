"""A checkpoint enters; the table of its held-out answers leaves. `python -m demo.evaluate [--engine vllm]`."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from demo.cases import ROWS, Case, cases

MODEL = Path(__file__).parent / "model"
_BATCH = 25
_MAX_TOKENS = 256


@dataclass(frozen=True)
class Reply:
    """Token ids of a prompt and of what was generated (with the end token), and the text of the latter."""

    prompt: list[int]
    output: list[int]
    text: str


class Transformers:
    """The checkpoint in float32, as transformers runs it."""

    def __init__(self, directory: Path) -> None:
        self._processor: Any = AutoProcessor.from_pretrained(directory)
        self._model = LlavaForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()

    def replies(self, asked: list[Case]) -> list[Reply]:
        return [reply for start in range(0, len(asked), _BATCH) for reply in self._batch(asked[start : start + _BATCH])]

    def _batch(self, asked: list[Case]) -> Iterator[Reply]:
        processor = self._processor
        prompts = [processor.apply_chat_template(c.dialog.prompt, add_generation_prompt=True) for c in asked]
        images = [image for case in asked for image in case.images] or None
        inputs = processor(text=prompts, images=images, padding=True, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            found = self._model.generate(**inputs, max_new_tokens=_MAX_TOKENS, do_sample=False)
        end, padding = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
        for row, ids in enumerate(found[:, inputs["input_ids"].shape[1] :].tolist()):
            output = ids[: ids.index(end) + 1] if end in ids else ids
            prompt = [token for token in inputs["input_ids"][row].tolist() if token != padding]
            yield Reply(prompt, output, processor.decode(output, skip_special_tokens=True))


def ask_vllm(directory: Path, asked: list[Case]) -> list[Reply]:
    """The same in vLLM, all at once. Needs the environment that README.md names."""
    from vllm import LLM, SamplingParams  # noqa: PLC0415 - the table does not need vLLM

    engine = LLM(
        model=str(directory),
        dtype="float32",
        enforce_eager=True,
        max_model_len=2048,
        limit_mm_per_prompt={"image": 4},
        block_size=32,
    )
    chats: list[Any] = [_with_images(case) for case in asked]
    outputs = engine.chat(chats, SamplingParams(temperature=0, max_tokens=_MAX_TOKENS), use_tqdm=False)
    return [Reply(list(o.prompt_token_ids or []), list(o.outputs[0].token_ids), o.outputs[0].text) for o in outputs]


def _with_images(case: Case) -> list[dict[str, Any]]:
    images = iter(case.images)

    def fill(part: dict[str, Any]) -> dict[str, Any]:
        return {"type": "image_pil", "image_pil": next(images)} if part["type"] == "image" else part

    return [
        m if isinstance(m["content"], str) else {**m, "content": [fill(p) for p in m["content"]]}
        for m in case.dialog.prompt
    ]


def print_table(model: Transformers, count: int, show: bool) -> None:
    for row in ROWS:
        asked = cases(row, count)
        replies = model.replies(asked)
        right = [reply.text == case.dialog.answer for reply, case in zip(replies, asked, strict=True)]
        print(f"{row:40s} {sum(right):4d}/{count}", flush=True)
        for case, reply, good in zip(asked, replies, right, strict=True):
            if show and not good:
                print(f"    {case.dialog.prompt[-1]['content']}: {reply.text!r}, not {case.dialog.answer!r}")


def print_comparison(directory: Path, count: int) -> None:
    asked = [case for row in ROWS for case in cases(row, count)]
    theirs, ours = ask_vllm(directory, asked), Transformers(directory).replies(asked)
    pairs = list(zip(theirs, ours, strict=True))
    print(f"prompts          {len(pairs)}")
    print(f"prompt ids equal {sum(a.prompt == b.prompt for a, b in pairs)}")
    print(f"output ids equal {sum(a.output == b.output for a, b in pairs)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--count", type=int, default=100, help="cases in each row of the table")
    parser.add_argument("--show", action="store_true", help="print every wrong answer")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.engine == "vllm":
        print_comparison(chosen.model, chosen.count)
    else:
        print_table(Transformers(chosen.model), chosen.count, chosen.show)


if __name__ == "__main__":
    main()
