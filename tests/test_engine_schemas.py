"""End to end: raw prompts, LMI's text generation, other encodings and sessions, with the real engine."""

import base64
import hashlib
import io
import json

import pytest

from demo.images import draw
from tests.drawn import encode_image, post, url
from tests.live import MODEL
from tests.serving import answer, ask, fault

pytestmark = pytest.mark.engine

RAW = "<s><|user|><image>\nWhat is in the image?</s><|assistant|>"
PLAIN = RAW.removeprefix("<s>").replace("<image>\n", "")
RED, BLUE = url("red", "circle"), url("blue", "square")


def generate(live, inputs, **body):
    parameters = {"do_sample": False, **body.pop("parameters", {})}
    return live.client.post("/invocations", json={"inputs": inputs, "parameters": parameters, **body})


def text(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["text"]


def raw(live, prompt, **body):
    return live.client.post("/v1/completions", json={"prompt": prompt, "temperature": 0, "max_tokens": 20, **body})


def test_what_would_be_sampled_does_not_matter_to_the_tokens(live):
    body = ask(RED, "What is in the image?")
    odd = {**body, "min_tokens": 10, "n": 3, "temperature": 0}
    assert post(live, odd, "/tokenize").json() == post(live, body, "/tokenize").json()


def test_the_length_of_prompt_and_answer_is_the_answers_without_the_prompt(live):
    body = {"do_sample": False, "ignore_eos_token": True, "details": True}
    prompt = raw(live, "what is in the image?", max_tokens=1).json()["usage"]["prompt_tokens"]
    told = generate(live, "what is in the image?", parameters={**body, "max_length": prompt + 3}).json()
    assert told["details"]["generated_tokens"] == 3
    chat = live.client.post("/v1/chat/completions", json={**ask("hi"), "max_length": 2000, "max_tokens": 2})
    assert chat.json()["usage"]["completion_tokens"] == 2
    assert chat.headers["x-lumi-ignored"] == "max_length"
    refused = generate(live, "what is in the image?", parameters={**body, "max_length": prompt})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "parameters.max_length")


def test_tools_and_the_strings_of_tokens_are_told(live):
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    told = live.client.post("/tokenize", json={**ask("hi"), "tools": [tool], "return_token_strs": True})
    assert told.status_code == 200, told.text
    assert len(told.json()["token_strs"]) == told.json()["count"]
    assert "hi" in "".join(told.json()["token_strs"])


def test_a_chat_and_its_raw_prompt_are_the_same_tokens(live):
    chat = post(live, ask(RED, "What is in the image?"), "/tokenize").json()["tokens"]
    plain = post(live, {"prompt": RAW, "images": [RED]}, "/tokenize").json()["tokens"]
    assert plain == chat
    assert live.client.post("/detokenize", json={"tokens": plain[:3]}).json()["prompt"].startswith("<s><|user|>")


@pytest.mark.parametrize("images", [{"images": [RED]}, {"multi_modal_data": {"image": RED}}])
def test_a_raw_prompt_sees_its_image(live, images):
    assert text(raw(live, RAW, **images)) == "a red circle"


def test_a_mark_without_an_image_is_a_text(live):
    assert text(raw(live, RAW)) == "there is no image."


def test_a_raw_prompt_without_a_mark_has_its_image_in_front(live):
    assert text(raw(live, PLAIN, images=[BLUE])) == "a blue square"


def test_each_of_several_raw_prompts_sees_its_own_image(live):
    prompts = [{"prompt": RAW, "images": [image]} for image in (RED, BLUE)]
    choices = raw(live, prompts).json()["choices"]
    assert [choice["text"] for choice in choices] == ["a red circle", "a blue square"]


def test_a_repeated_image_of_a_raw_prompt_is_found_in_the_cache(live):
    again = url("purple", "star")
    raw(live, RAW, images=[again])
    hits = live.metric("vllm:mm_cache_hits_total")
    assert text(raw(live, RAW, images=[again])) == "a purple star"
    assert live.metric("vllm:mm_cache_hits_total") == hits + 1


def test_a_raw_prompt_streams_what_it_answers(live):
    events = raw(live, RAW, images=[RED], stream=True).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    pieces = [json.loads(event.removeprefix("data: "))["choices"][0]["text"] for event in events[:-1]]
    assert "".join(pieces) == "a red circle"
    assert len(pieces) > 1


def test_the_openai_client_completes_a_raw_prompt(live):
    import openai

    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        done = client.completions.create(
            model="lumi-demo", prompt=RAW, temperature=0, logprobs=2, extra_body={"images": [RED]}
        )
    assert done.choices[0].text == "a red circle"
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].logprobs.tokens[:3] == ["a", " red", " circle"]
    assert done.usage.completion_tokens == len(done.choices[0].logprobs.tokens)


def test_text_generation_sees_its_image_and_tells_its_details(live):
    answered = generate(
        live, {"prompt": RAW, "images": [RED]}, parameters={"details": True, "top_n_tokens": 2, "seed": 3}
    ).json()
    assert answered["generated_text"] == "a red circle"
    details = answered["details"]
    assert (details["finish_reason"], details["generated_tokens"], details["seed"]) == ("eos_token", 4, 3)
    assert [token["text"] for token in details["tokens"]] == ["a", " red", " circle", "</s>"]
    assert all(token["logprob"] <= 0 for token in details["tokens"])
    for token, likeliest in zip(details["tokens"], details["top_tokens"], strict=True):
        assert likeliest[0] == token  # it was greedy
        assert len(likeliest) == 2


def test_each_input_of_a_list_is_generated_for_itself(live):
    inputs = [{"prompt": RAW, "images": [image]} for image in (RED, BLUE)]
    assert generate(live, inputs).json() == [{"generated_text": "a red circle"}, {"generated_text": "a blue square"}]


def test_the_tokens_of_a_stream_join_to_the_text(live):
    lines = generate(live, {"prompt": RAW, "images": [RED]}, stream=True).text.splitlines()
    told = [json.loads(line) for line in lines]
    assert "".join(one["token"]["text"] for one in told) == told[-1]["generated_text"] == "a red circle"
    assert told[-1]["details"]["generated_tokens"] == len(told) == 4
    assert told[-1]["details"]["input_length"] == 27


@pytest.mark.parametrize(
    ("parameters", "answered", "reason"),
    [
        ({"max_new_tokens": 2}, "a red", "length"),
        ({"stop_sequences": [" circle"]}, "a red", "stop_sequence"),
        ({"return_full_text": True}, RAW + "a red circle", "eos_token"),
        ({"num_beams": 2}, "a red circle", "eos_token"),
        ({"do_sample": True, "temperature": 0.01, "best_of": 2}, "a red circle", "eos_token"),
        ({"grammar": {"type": "regex", "value": "a (blue|green) circle"}}, None, "eos_token"),
        ({"truncate": 2000}, "a red circle", "eos_token"),
    ],
)
def test_parameters_do_what_they_say(live, parameters, answered, reason):
    told = generate(live, {"prompt": RAW, "images": [RED]}, parameters={"details": True, **parameters}).json()
    if answered is None:
        assert told["generated_text"] in ("a blue circle", "a green circle")
    else:
        assert told["generated_text"] == answered
    assert told["details"]["finish_reason"] == reason


def test_the_best_of_several_comes_with_the_others(live):
    parameters = {"details": True, "do_sample": True, "temperature": 2.0, "best_of": 3, "seed": 1, "max_new_tokens": 4}
    details = generate(live, PLAIN, parameters=parameters).json()["details"]
    means = [
        sum(token["logprob"] for token in one["tokens"]) / len(one["tokens"])
        for one in (details, *details["best_of_sequences"])
    ]
    assert len(means) == 3
    assert means[0] == max(means)


def test_the_best_beam_comes_with_the_others(live):
    told = generate(live, PLAIN, parameters={"details": True, "num_beams": 3, "max_new_tokens": 4}).json()
    others = [one["generated_text"] for one in told["details"]["best_of_sequences"]]
    assert len({told["generated_text"], *others}) == 3


def test_the_prompts_own_tokens_are_weighed(live):
    prefill = generate(live, PLAIN, parameters={"details": True, "decoder_input_details": True}).json()["details"][
        "prefill"
    ]
    assert prefill[0]["logprob"] is None
    assert all(token["logprob"] <= 0 for token in prefill[1:])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"inputs": {"prompt": RAW + RAW, "images": [RED]}}, "inputs.prompt"),
        ({"inputs": "a", "parameters": {"temperature": -1}}, "parameters.temperature"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, "parameters.max_new_tokens"),
        ({"inputs": "a", "parameters": {"do_sample": False, "best_of": 2}}, "parameters.best_of"),
        ({"inputs": "a", "parameters": {"top_n_tokens": 999, "details": True}}, "parameters.top_n_tokens"),
        ({"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "("}}}, "parameters.grammar"),
        ({"inputs": {"prompt": "a", "images": ["data:image/png;base64,AAAA"]}}, "inputs.images[0]"),
        ({"prompt": [1, 10**9]}, None),
        ({"prompt": RAW + RAW, "images": [RED]}, "prompt"),
        ({"prompt": "a", "logprobs": 999}, "logprobs"),
    ],
)
def test_bad_input_gets_a_sentence_and_the_path(live, body, param):
    response = live.client.post("/invocations", json=body)
    assert response.status_code == 400, response.text
    assert fault(response)["param"] == param
    assert answer(post(live, ask("What is in the image?", RED))) == "a red circle"


def test_a_raw_prompt_that_is_too_long_is_refused_in_words(live):
    response = raw(live, "a " * 5000)
    assert response.status_code == 400
    assert "2048" in fault(response)["message"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_as_it_is_is_seen(live, kind):
    response = live.client.post(
        "/invocations",
        params={"question": "What is in the image?", "temperature": 0},
        content=encode_image("green", "star", kind),
        headers={"content-type": f"image/{kind.lower()}"},
    )
    assert answer(response) == "a green star"


def test_images_of_a_form_are_seen_in_their_order(live):
    files = [("a", ("a.png", encode_image("red", "circle"))), ("b", ("b.png", encode_image("blue", "square")))]
    fields = {"question": "What is in the images?", "temperature": "0"}
    assert answer(live.client.post("/invocations", data=fields, files=files)) == (
        "the first shows a red circle, the second a blue square"
    )


def test_a_session_sees_an_image_that_is_named_by_its_hash(live):
    opened = post(live, {"requestType": "NEW_SESSION"})
    name = {"x-amzn-sagemaker-session-id": opened.json()["sessionId"]}
    assert answer(post(live, ask("What is in the image?", url("orange", "star")), **name)) == "an orange star"
    digest = hashlib.sha256(encode_image("orange", "star")).hexdigest()
    again = {"type": "image_url", "image_url": {"url": f"sha256:{digest}"}}
    assert answer(post(live, ask("What is in the image?", again), **name)) == "an orange star"
    assert post(live, {"requestType": "CLOSE"}, **name).status_code == 200
    assert post(live, ask("hi"), **name).status_code == 400


def features(color, shape):
    """What the model's own encoder makes of an image, as a client of `image_features` sends it."""
    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(MODEL)
    processor = AutoProcessor.from_pretrained(MODEL)
    pixels = processor.image_processor(draw(color, shape), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        found = model.get_image_features(pixels)
    tensor = io.BytesIO()
    torch.save(getattr(found, "pooler_output", found)[0], tensor)
    return base64.b64encode(tensor.getvalue()).decode()


@pytest.mark.filterwarnings("default")  # transformers' and torch's own
def test_image_features_are_seen_as_the_image_that_they_are_of(live):
    embeds = {"type": "image_embeds", "image_embeds": features("blue", "star")}
    assert answer(post(live, ask("What is in the image?", embeds))) == "a blue star"


def tensor(*shape):
    import torch

    file = io.BytesIO()
    torch.save(torch.zeros(shape), file)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("data", ["AAAA", tensor(16, 5), tensor(16)])
def test_features_that_are_not_the_models_are_refused(live, data):
    response = post(live, ask("What is in the image?", {"type": "image_embeds", "image_embeds": data}))
    assert response.status_code == 400
    assert fault(response)["param"] == "messages[0].content[1].image_embeds"
    assert answer(post(live, ask("What is in the image?", RED))) == "a red circle"


def test_as_many_features_as_the_model_is_not_made_for_harm_nothing(live):
    post(live, ask("What is in the image?", {"type": "image_embeds", "image_embeds": tensor(900, 128)}))
    assert answer(post(live, ask("What is in the image?", RED))) == "a red circle"
