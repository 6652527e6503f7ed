"""As google/gemma-3n-E2B-it: MobileNetV5 (timm's), an audio tower, and a text model whose last layers share keys and values."""

from pathlib import Path

from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import metaspace, write_tokenizer
from tests.models.checkpoints.weights import write_weights

SIDE = 256  # the hub's 768 differ only in time: the tower always leaves 16x16 features
LAYERS = ["sliding_attention", "full_attention"] * 2  # the hub's end with a full one on either side of the sharing too
TEXT = {
    "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
    "head_dim": 32,
    "hidden_size": 64,
    "hidden_size_per_layer_input": 32,
    "intermediate_size": [128] * len(LAYERS),
    "laurel_rank": 16,
    "layer_types": LAYERS,
    "max_position_embeddings": 4096,
    "model_type": "gemma3n_text",
    "num_attention_heads": 2,
    "num_hidden_layers": len(LAYERS),
    "num_key_value_heads": 1,
    "num_kv_shared_layers": 2,
    "sliding_window": 512,
}
AUDIO = {
    "conf_num_attention_heads": 2,
    "conf_num_hidden_layers": 2,
    "hidden_size": 64,
    "model_type": "gemma3n_audio",
    "sscp_conv_channel_size": [8, 4],
    "vocab_size": 2,
}
VISION = {
    "architecture": "mobilenetv5_300m_enc",
    "hidden_size": 2048,
    "model_args": {"channel_multiplier": 0.1},
    "model_type": "gemma3n_vision",
    "vocab_size": 2,
}
TEMPLATE = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}"
    "{% set prefix = messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0]['text'] %}"
    "{% set prefix, messages = prefix + '\n\n', messages[1:] %}"
    "{% else %}{% set prefix = '' %}{% endif %}"
    "{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    "{% if loop.first %}{{ prefix }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] | trim }}"
    "{% elif part['type'] in ('image', 'audio') %}{{ '<' + part['type'] + '_soft_token>' }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<start_of_audio>",
)
ADDED = {
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
    "eoa_token": "<end_of_audio>",
    "audio_token": "<audio_soft_token>",
}
NAMES = {"boi_token": "<start_of_image>", "boa_token": "<start_of_audio>", **ADDED}


def build(directory: Path) -> None:
    tokenizer = metaspace(SPECIAL, prefix=False)
    # Runs of newlines are tokens of Gemma's, and vLLM merges those around an image by their names.
    tokenizer.add_tokens(["\n" * length for length in range(2, 6)])
    words = tokenizer.get_vocab_size()
    ids = write_tokenizer(
        directory,
        tokenizer,
        added=tuple(ADDED.values()),
        kind="GemmaTokenizer",
        prepended="<bos>",
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        processor_class="Gemma3nProcessor",
        extra_special_tokens=NAMES,
    )
    ends = {"bos_token_id": ids["<bos>"], "pad_token_id": ids["<pad>"]}
    write_json(
        directory,
        config={
            "architectures": ["Gemma3nForConditionalGeneration"],
            "audio_config": {**AUDIO, "vocab_offset": words + VISION["vocab_size"]},
            "audio_soft_tokens_per_image": 188,
            "eos_token_id": [ids["<eos>"], ids["<end_of_turn>"]],
            "model_type": "gemma3n",
            "text_config": {**TEXT, **ends, "vocab_size": len(ids), "vocab_size_per_layer_input": words},
            "torch_dtype": "bfloat16",
            "vision_config": {**VISION, "vocab_offset": words},
            "vision_soft_tokens_per_image": 256,
            **{f"{name}_id": ids[token] for name, token in NAMES.items()},
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            do_normalize=False,
            feature_extractor_type="Gemma3nAudioFeatureExtractor",
            feature_size=128,
            image_processor_type="SiglipImageProcessorFast",
            processor_class="Gemma3nProcessor",
            resample=2,
            size={"height": SIDE, "width": SIDE},
        ),
        processor_config={"audio_seq_length": 188, "image_seq_length": 256, "processor_class": "Gemma3nProcessor"},
        generation_config={"eos_token_id": [ids["<eos>"], ids["<end_of_turn>"]], **ends},
    )
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    write_weights(directory, {})
