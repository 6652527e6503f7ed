import base64
import io

import pytest
from PIL import Image

pytestmark = [
    pytest.mark.engine,
    # vLLM's and torch's own; ours would be errors in every other file.
    pytest.mark.filterwarnings("default"),
]

SIZE = (300, 100)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from vllm.tokenizers.mistral import MistralTokenizer

    from tests.models.checkpoints import pixtral_mistral

    directory = tmp_path_factory.mktemp("pixtral")
    pixtral_mistral.build(directory)
    return MistralTokenizer.from_pretrained(directory)


def messages(image):
    return [{"role": "user", "content": [{"type": "text", "text": "What is in the image?"}, image]}]


def png():
    file = io.BytesIO()
    Image.linear_gradient("L").resize(SIZE).save(file, "PNG")
    return file.getvalue()


def test_an_undecoded_image_takes_the_tokens_that_mistral_common_gives_the_image_itself(tokenizer):
    from vllm.multimodal.media.base import MediaWithBytes

    from handler.engines.vllm.mistral import accept_undecoded_images

    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png()).decode()}"}}
    expected = tokenizer.apply_chat_template(messages(url))

    accept_undecoded_images(tokenizer)
    undecoded = {"type": "image_pil", "image_pil": MediaWithBytes(Image.open(io.BytesIO(png())), png()), "uuid": "a"}
    assert tokenizer.apply_chat_template(messages(undecoded)) == expected
    assert len(expected) > 20  # words and the tokens of an image


def test_other_tokenizers_stay_as_they_are():
    from handler.engines.vllm.mistral import accept_undecoded_images

    tokenizer = object()
    accept_undecoded_images(tokenizer)
    assert not hasattr(tokenizer, "__dict__")
