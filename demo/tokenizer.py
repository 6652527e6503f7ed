"""Texts enter; a byte-level BPE tokenizer with the chat template's special tokens leaves."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIALS = ("<unk>", "<s>", "</s>", "<pad>", "<image>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
BOS_ID, EOS_ID, PAD_ID, IMAGE_ID = 1, 2, 3, 4
VOCABULARY = 1024
MAX_POSITIONS = 2048

# Role tokens make tokenization independent of the context: a turn has the same ids as a prompt and as history.
CHAT_TEMPLATE = """\
{%- macro body(content) -%}
  {%- if content is string -%}{{- content -}}
  {%- elif content -%}
    {%- for part in content -%}
      {%- if part.type == 'text' -%}{{- part.text -}}
      {%- elif part.type in ('image', 'image_url') -%}{{- '<image>\\n' -}}
      {%- else -%}{{- raise_exception('unknown content part: ' ~ part.type) -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{{- '<s>' -}}
{%- for message in messages -%}
  {%- if message.role in ('system', 'developer') -%}{{- '<|system|>' -}}
  {%- elif message.role in ('user', 'assistant', 'tool') -%}{{- '<|' ~ message.role ~ '|>' -}}
  {%- else -%}{{- raise_exception('unknown role: ' ~ message.role) -}}
  {%- endif -%}
  {{- body(message.content) -}}
  {%- if message.tool_calls -%}
    {%- for call in message.tool_calls -%}
      {%- set arguments = call.function.arguments -%}
      {{- call.function.name ~ ' ' ~ (arguments if arguments is string else arguments | tojson) -}}
    {%- endfor -%}
  {%- endif -%}
  {{- '</s>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Any UTF-8 text survives a round trip; digits stay single, so that an unseen number has known parts."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{role}_token": token for role, token in zip(("unk", "bos", "eos", "pad"), SPECIALS, strict=False)},
        additional_special_tokens=list(SPECIALS[4:]),
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_POSITIONS,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )
