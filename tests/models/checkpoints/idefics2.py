"""As HuggingFaceM4/idefics2-8b-chatty: SigLIP at the image's own size, a perceiver, and Mistral. Images are not split."""

from pathlib import Path

from tests.models.checkpoints.files import HALF, image_steps, write_json
from tests.models.checkpoints.tokenizer import metaspace, write_tokenizer
from tests.models.checkpoints.weights import write_weights

TEMPLATE = (
    "{% for message in messages %}{{message['role'].capitalize()}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
LATENTS = 8


def build(directory: Path) -> None:
    added = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    ids = write_tokenizer(
        directory,
        metaspace(("<unk>", "<s>", "</s>"), prefix=True),
        added=added,
        kind="LlamaTokenizer",
        prepended="<s>",
        add_bos_token=True,
        add_eos_token=False,
        additional_special_tokens=list(added),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<unk>",
        padding_side="left",
        processor_class="Idefics2Processor",
    )
    write_json(
        directory,
        config={
            "architectures": ["Idefics2ForConditionalGeneration"],
            "image_token_id": ids["<image>"],
            "model_type": "idefics2",
            "perceiver_config": {
                "hidden_size": 64,
                "model_type": "idefics2",
                "num_key_value_heads": 1,
                "resampler_depth": 1,
                "resampler_head_dim": 32,
                "resampler_n_heads": 2,
                "resampler_n_latents": LATENTS,
            },
            "text_config": {
                "hidden_size": 64,
                "intermediate_size": 160,
                "max_position_embeddings": 4096,
                "model_type": "mistral",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "num_key_value_heads": 1,
                "pad_token_id": 0,
                # Shorter than most of the chats, so that it counts.
                "sliding_window": 48,
                "vocab_size": len(ids),
            },
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
            "vision_config": {
                "hidden_size": 64,
                "image_size": 112,
                "intermediate_size": 128,
                "model_type": "idefics2",
                "num_attention_heads": 2,
                "num_hidden_layers": 2,
                "patch_size": 14,
            },
        },
        preprocessor_config=image_steps(
            HALF,
            HALF,
            do_convert_rgb=True,
            do_image_splitting=False,
            do_pad=True,
            image_processor_type="Idefics2ImageProcessor",
            processor_class="Idefics2Processor",
            resample=2,
            size={"longest_edge": 112, "shortest_edge": 56},
        ),
        processor_config={"image_seq_len": LATENTS, "processor_class": "Idefics2Processor"},
        chat_template={"chat_template": TEMPLATE},
        generation_config={"bos_token_id": 1, "eos_token_id": [2, ids["<end_of_utterance>"]], "pad_token_id": 0},
    )
    write_weights(directory, {})
