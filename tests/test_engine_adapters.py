"""Adapters end to end: trained here, and loaded and unloaded in the real engine while requests run."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from handler.payload.adapter_choice import HEADER
from tests.drawn import post, url
from tests.live import start
from tests.serving import answer, ask, fault, wait_for

pytestmark = [
    pytest.mark.engine,
    # torch's and transformers' own, while the adapters are trained; ours would be errors in every other file.
    pytest.mark.filterwarnings("default"),
]

ONE = "What is in the image?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Directories of adapters: `skies` sees a sky in every image, `images` an image. Seconds each."""
    from demo.adapter import make_adapter

    home = tmp_path_factory.mktemp("adapters")
    make_adapter(home / "skies", noun="sky")
    make_adapter(home / "images", noun="image", rank=8, seed=1)
    return home


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the server keeps its copies of registered adapters."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def adapted(trained, kept, tmp_path_factory):
    server = start(
        tmp_path_factory.mktemp("adapted"),
        OPTION_ENABLE_LORA="true",
        OPTION_MAX_LORAS="2",
        OPTION_MAX_CPU_LORAS="2",
        OPTION_MAX_LORA_RANK="8",
        OPTION_LORA_MODULES=f"skies={trained / 'skies'}",
        OPTION_ADAPTER_DIRECTORIES=str(trained),
        OPTION_ENABLE_MANAGEMENT="true",
        OPTION_DOWNLOAD_DIR=str(kept),
    )
    try:
        server.wait_until(200)
        yield server
    finally:
        server.end()


@pytest.fixture
def images(adapted, trained, kept):
    """The adapter `images`, registered for one test."""
    others = copies(kept)
    assert register(adapted, "images", trained / "images").status_code == 200
    yield "images"
    adapted.client.delete("/adapters/images")
    # The response does not await that vLLM has unloaded it, and its copy goes after that.
    wait_for(lambda: copies(kept) <= others)


def register(server, name, source):
    return server.client.post("/adapters", json={"name": name, "src": str(source)})


def copies(kept):
    return set(kept.glob("adapters/adapter-*"))


def seen(server, adapter=None, color="red", shape="circle", **headers):
    body = ask(ONE, url(color, shape))
    return answer(post(server, body | ({"adapters": adapter} if adapter else {}), **headers))


def changed_copy(trained, name, tensors=lambda tensors: tensors, **config):
    """A copy of `skies` with other tensors and another configuration."""
    from safetensors.torch import load_file, save_file

    directory = trained / name
    shutil.copytree(trained / "skies", directory, dirs_exist_ok=True)
    weights = tensors(load_file(directory / "adapter_model.safetensors"))
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, directory / "adapter_model.safetensors")
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return directory


def test_a_trained_adapter_changes_the_answer_and_the_model_does_not(adapted):
    assert seen(adapted) == "a red circle"
    assert seen(adapted, "skies") == "a red sky"
    assert seen(adapted, "skies", "orange", "star") == "an orange sky"
    assert seen(adapted) == "a red circle"


def test_every_way_to_choose_an_adapter_works(adapted):
    body = ask(ONE, url("blue", "square"))
    assert answer(post(adapted, body, **{HEADER: "skies"})) == "a blue sky"
    response = post(adapted, {**body, "model": "skies"}, "/v1/chat/completions")
    assert (answer(response), response.json()["model"]) == ("a blue sky", "skies")
    chunks = post(adapted, {**body, "model": "skies", "stream": True}).text.splitlines()
    deltas = [json.loads(chunk) for chunk in chunks]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in deltas) == "a blue sky"
    assert {chunk["model"] for chunk in deltas} == {"skies"}


def test_a_prompt_has_log_probabilities_of_the_adapter_that_reads_it(adapted):
    body = {"prompt": "what is in the image? a red circle", "max_tokens": 1, "prompt_logprobs": 0, "temperature": 0}
    models = ["lumi-demo", "skies"] * 2
    with ThreadPoolExecutor(len(models)) as pool:  # a batch has rows of both
        together = list(pool.map(lambda model: prompt_logprobs(adapted, {**body, "model": model}), models))
    alone = [prompt_logprobs(adapted, {**body, "model": model}) for model in models[:2]]
    assert together == [pytest.approx(one, abs=1e-3) for one in (*alone, *alone)]
    assert alone[0] != pytest.approx(alone[1], abs=1e-2)


def prompt_logprobs(server, body):
    response = post(server, body, "/v1/completions")
    assert response.status_code == 200, response.text
    first, *others = response.json()["choices"][0]["prompt_logprobs"]
    assert first is None
    return [token["logprob"] for place in others for token in place.values()]


def test_raw_prompts_and_text_generation_have_adapters_too(adapted):
    image = url("green", "ring")
    body = {
        "inputs": {"prompt": f"<s><|user|><image>\n{ONE}</s><|assistant|>", "images": [image]},
        "parameters": {"do_sample": False},
    }
    plain = post(adapted, body).json()["generated_text"]
    by_adapter = post(adapted, {**body, "adapters": "skies"}).json()["generated_text"]
    assert (plain, by_adapter) == ("a green ring", "a green sky")


def test_two_adapters_and_the_model_are_computed_in_one_batch(adapted, images):
    cases = [
        (adapter, color) for adapter in (None, "skies", images) for color in ("red", "blue", "green", "yellow")
    ] * 3
    with ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(lambda case: seen(adapted, *case), cases))
    nouns = {None: "circle", "skies": "sky", images: "image"}
    assert answers == [f"a {color} {nouns[adapter]}" for adapter, color in cases]


def chat(adapted, model):
    """The answer where an unknown `model` is a fault: /invocations ignores it."""
    return adapted.client.post("/v1/chat/completions", json=ask(ONE, model=model))


def test_an_adapter_is_loaded_and_unloaded_while_requests_run(adapted, trained, kept):
    others = copies(kept)
    body = {**ask(ONE, url("red", "circle")), "model": "images", "stream": True, "min_tokens": 600, "max_tokens": 600}
    assert register(adapted, "images", trained / "images").status_code == 200
    (copy,) = copies(kept) - others
    with httpx.stream("POST", f"{adapted.url}/v1/chat/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        first = [next(lines) for _ in range(12)]
        assert adapted.client.delete("/adapters/images").status_code == 200
        gone = chat(adapted, "images")
        assert (gone.status_code, fault(gone)["code"]) == (404, "model_not_found")
        assert post(adapted, ask(ONE, adapters="images")).status_code == 404
        # Another of that name, while the first still answers.
        assert register(adapted, "images", trained / "skies").status_code == 200
        assert seen(adapted, "images") == "a red sky"
        assert copy.exists()  # vLLM may read it again while the first answers
        chunks = [line.removeprefix("data: ") for line in (*first, *lines) if line]
    assert chunks[-1] == "[DONE]"
    text = "".join(json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1])
    assert text.startswith("a red image")
    assert "sky" not in text
    wait_for(lambda: not copy.exists())
    assert adapted.client.delete("/adapters/images").status_code == 200
    wait_for(lambda: copies(kept) <= others)


def test_an_update_that_vllm_cannot_load_leaves_the_old_adapter_in_place(adapted, trained, kept, images):
    others = copies(kept)
    body = {"src": str(changed_copy(trained, "unfit", _elsewhere))}
    response = adapted.client.post(f"/adapters/{images}/update", json=body)
    assert (response.status_code, fault(response)["code"]) == (400, "adapter_invalid")
    assert seen(adapted, images) == "a red image"
    wait_for(lambda: copies(kept) == others)


def test_an_update_changes_the_answers_of_the_next_requests(adapted, trained, images):
    assert seen(adapted, images) == "a red image"
    response = adapted.client.post(f"/adapters/{images}/update", json={"src": str(trained / "skies")})
    assert response.json() == {"status": "Adapter images updated"}
    assert seen(adapted, images) == "a red sky"


def test_more_adapters_than_are_kept_in_memory_still_answer(adapted, trained, images):
    for number in range(3):
        assert register(adapted, f"more-{number}", trained / "images").status_code == 200
    for _ in range(2):
        for name in ("skies", images, "more-0", "more-1", "more-2"):
            assert seen(adapted, name) == ("a red sky" if name == "skies" else "a red image")
    for number in range(3):
        assert adapted.client.delete(f"/adapters/more-{number}").status_code == 200


def test_an_image_that_the_model_has_processed_is_not_decoded_again_for_an_adapter(adapted):
    image = ("purple", "cross")
    assert seen(adapted, None, *image) == "a purple cross"
    hits = adapted.metric("vllm:mm_cache_hits_total")
    assert seen(adapted, "skies", *image) == "a purple sky"
    assert seen(adapted, None, *image) == "a purple cross"
    wait_for(lambda: adapted.metric("vllm:mm_cache_hits_total") == hits + 2)


def _halved(tensors):
    return {name: tensor[:, :64] if "lora_A" in name else tensor for name, tensor in tensors.items()}


def _doubled(tensors):
    return {name: tensor.repeat(2, 1) if "lora_B" in name else tensor for name, tensor in tensors.items()}


def _deeper(tensors):
    return {name.replace("layers.2", "layers.31"): tensor for name, tensor in tensors.items()}


def _elsewhere(tensors):
    return {name.replace("self_attn.q_proj", "input_layernorm"): tensor for name, tensor in tensors.items()}


def _seeing(tensors):
    return {
        n.replace("language_model.layers.0.self_attn.q_proj", "multi_modal_projector.linear_1"): tensor
        for n, tensor in tensors.items()
    }


def _embedding(tensors):
    import torch

    layer = "base_model.model.model.language_model.embed_tokens.lora_embedding"
    return {**tensors, f"{layer}_A": torch.zeros(4, 7), f"{layer}_B": torch.zeros(128, 4)}


def _steep(tensors):
    return {n: tensor.repeat(4, 1) if "lora_A" in n else tensor.repeat(1, 4) for n, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("tensors", "config", "words"),
    [
        (_halved, {}, "64 inputs and 128 outputs, but the layer has 128 and 128"),
        (_doubled, {}, "128 inputs and 256 outputs, but the layer has 128 and 128"),
        (_deeper, {"base_model_name_or_path": "large/model"}, "no such layer. It was trained for large/model"),
        (
            _seeing,
            {},
            "in the vision tower or connector, which vLLM skips unless OPTION_ENABLE_TOWER_CONNECTOR_LORA=true",
        ),
        (_elsewhere, {}, "vLLM cannot load the adapter"),
        (_embedding, {}, "vLLM cannot load the adapter"),
        (_steep, {"r": 16}, "has rank 16, but the limit of this server is 8; start with OPTION_MAX_LORA_RANK=16"),
        (lambda tensors: tensors, {"use_dora": True}, "use_dora"),
    ],
)
def test_an_adapter_that_does_not_fit_is_an_error_and_changes_nothing(adapted, trained, tensors, config, words):
    response = register(adapted, "unfit", changed_copy(trained, "unfit", tensors, **config))
    assert response.status_code == 400, response.text
    assert words in fault(response)["message"]
    assert fault(response)["param"] == "src"
    assert chat(adapted, "unfit").status_code == 404
    assert seen(adapted, "skies") == "a red sky"
    assert seen(adapted) == "a red circle"


def test_the_keys_of_loadings_are_not_names(adapted):
    assert chat(adapted, "skies#1").status_code == 404
    listed = {model["id"]: model for model in adapted.client.get("/v1/models").json()["data"]}
    assert listed["skies"]["parent"] == "lumi-demo"
    assert not [name for name in listed if "#" in name]
