import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import errors

from container.model_store.hub_download import describe_error
from container.model_store.hub_files import wanted_files
from tests.adapter_cases import write_adapter
from tests.checkpoints import write_checkpoint
from tests.http_server import Response, http_server

ROOT = Path(__file__).parent.parent
COMMIT = "a" * 40
INDEX = "model.safetensors.index.json"
FILES = {
    "config.json": b'{"model_type": "llava"}',
    "tokenizer.json": b"{}",
    "README.md": b"# words",
    "image.png": b"png",
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same weights" * 1000,
    "original/consolidated.safetensors": b"once more",
}


# Which files.


def chosen(*names, load_format="auto", index=()):
    return wanted_files(names, load_format, lambda _: index)


def test_what_vllm_reads_is_wanted_and_no_more():
    assert chosen(*FILES) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]


def test_weights_are_those_that_the_index_names():
    names = ("config.json", INDEX, "model-1.safetensors", "model-2.safetensors", "old.safetensors")
    wanted = chosen(*names, index=("model-1.safetensors", "model-2.safetensors"))
    assert "model-2.safetensors" in wanted
    assert "old.safetensors" not in wanted


@pytest.mark.parametrize(
    ("load_format", "weights"),
    [
        ("auto", {"consolidated.safetensors"}),
        ("hf", {"consolidated.safetensors", "model.safetensors"}),
        ("mistral", {"consolidated.safetensors"}),
        ("npcache", {"pytorch_model.bin"}),
        ("pt", set()),
        ("dummy", set()),
        ("runai_streamer", set()),
    ],
)
def test_the_load_format_decides_about_the_weights(load_format, weights):
    names = ("config.json", "consolidated.safetensors", "model.safetensors", "pytorch_model.bin")
    assert set(chosen(*names, load_format=load_format)) == weights | {"config.json"}


# From a hub on loopback, with what huggingface_hub reads from the environment.


class Hub:
    """A hub in miniature: one repository, org/model, and how its server misbehaves."""

    def __init__(self):
        self.url = ""
        self.files = dict(FILES)
        self.error = None
        self.needs_token = False

    def respond(self, request):
        path = unquote(urlsplit(request.path).path)
        if self.error:
            return Response(self.error[0], b"{}", {"X-Error-Code": self.error[1]})
        if self.needs_token and request.headers["Authorization"] != "Bearer hf_right":
            return Response(401, b"{}", {"X-Error-Code": "GatedRepo"})
        if path.startswith("/api/models/org/model/tree/"):
            return Response(body=json.dumps([entry(*file) for file in self.files.items()]).encode())
        if path.startswith("/api/models/org/model"):
            return Response(body=json.dumps({"id": "org/model", "sha": COMMIT, "siblings": []}).encode())
        data = self.files[path.removeprefix("/org/model/resolve/").partition("/")[2]]
        return Response(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})


def entry(name, data):
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@pytest.fixture
def hub():
    hub = Hub()
    with http_server(hub.respond) as hub.url:
        yield hub


SCRIPT = """
import asyncio, sys
from container.model_store import Hub, fetch, locate
from handler.errors import StartError
try:
    print(asyncio.run(fetch(locate("org/model"), print, hub=Hub(sys.argv[1] or None, sys.argv[2] or None))))
except StartError as error:
    sys.exit(str(error))
"""


def start(url, home, *, revision="", token="", script=SCRIPT, **environ):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    outcome = subprocess.run(
        [sys.executable, "-c", script, revision, token],
        cwd=ROOT,
        env={**kept, "HF_ENDPOINT": url, "HF_HOME": str(home), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in outcome.stderr
    return outcome


def cached(home):
    (snapshot,) = home.glob("hub/models--org--model/snapshots/*")
    return {path.relative_to(snapshot).as_posix(): path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}


def test_the_files_that_vllm_will_ask_for_are_in_the_cache(hub, tmp_path):
    hub.needs_token = True
    outcome = start(hub.url, tmp_path, token="hf_right")
    assert outcome.stdout.splitlines()[-1] == "org/model", outcome.stderr
    wanted = ("README.md", "config.json", "model.safetensors", "tokenizer.json")
    assert cached(tmp_path) == {name: FILES[name] for name in wanted}
    assert start("http://127.0.0.1:9", tmp_path, HF_HUB_OFFLINE="1").returncode == 0


def test_a_hub_that_does_not_answer_is_no_fault_where_the_model_is_cached(hub, tmp_path):
    start(hub.url, tmp_path)
    outcome = start("http://127.0.0.1:9", tmp_path)
    assert outcome.returncode == 0
    assert "loaded from the cache" in outcome.stdout


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            (404, "RepoNotFound"),
            "The model org/model does not exist on the hub, or is private; correct the id, or set HF",
        ),
        ((404, "RevisionNotFound"), "has no revision v2; correct HF_REVISION"),
        ((403, "GatedRepo"), "is gated; ask for access"),
    ],
)
def test_a_refusal_of_the_hub_is_explained(hub, tmp_path, error, words):
    hub.error = error
    assert words in start(hub.url, tmp_path, revision="v2").stderr


def test_a_repository_without_a_model_says_what_was_looked_for(hub, tmp_path):
    del hub.files["config.json"]
    assert "it needs config.json or params.json, but there is README.md" in start(hub.url, tmp_path).stderr


@pytest.mark.parametrize(
    ("environ", "words"),
    [({"HF_HUB_OFFLINE": "1"}, "unset HF_HUB_OFFLINE"), ({}, "check the network, HF_ENDPOINT")],
)
def test_a_model_that_is_nowhere_is_explained(tmp_path, environ, words):
    assert words in start("http://127.0.0.1:9", tmp_path, **environ).stderr


ADAPTER_SCRIPT = """
import asyncio
from pathlib import Path
from container.start.adapters import find_static_adapters
from container.model_store import fetch_adapter
from container.options import resolve
from handler.adapters.store import AdapterStore
from handler.errors import StartError
named = {"OPTION_ENABLE_LORA": "true", "OPTION_LORA_MODULES": "cats=org/model"}
options = resolve(named, engine_fields=tuple, model_directory=Path("/nowhere")).options
try:
    (found,) = asyncio.run(find_static_adapters(options, [], AdapterStore(Path("/nowhere/kept"), [], fetch_adapter)))
    print(found.directory)
except StartError as error:
    raise SystemExit(str(error))
"""


def test_an_adapter_of_the_hub_is_brought_and_served_from_its_cache(hub, tmp_path):
    source = write_adapter(tmp_path / "uploaded")
    hub.files = {path.name: path.read_bytes() for path in source.iterdir()} | {"optimizer.pt": b"large"}
    outcome = start(hub.url, tmp_path / "home", script=ADAPTER_SCRIPT)
    assert outcome.returncode == 0, outcome.stderr
    assert cached(tmp_path / "home") == {path.name: path.read_bytes() for path in source.iterdir()}
    assert outcome.stdout.splitlines()[-1].endswith(COMMIT)
    hub.error = (404, "RepoNotFound")
    assert "The adapter cats is not available." in start(hub.url, tmp_path / "other", script=ADAPTER_SCRIPT).stderr


def test_a_repository_without_an_adapter_says_what_was_looked_for(hub, tmp_path):
    assert "it needs adapter_config.json" in start(hub.url, tmp_path, script=ADAPTER_SCRIPT).stderr


def test_a_full_disk_is_explained():
    assert "does not fit on the disk" in describe_error(OSError(28, "No space left on device"), "org/model", None)


def test_an_id_that_is_none_is_explained():
    assert "write organisation/name" in describe_error(errors.HFValidationError("bad"), "-x", None)


READING = """
import sys
from container.model_store import Hub, locate, remote_files
from handler.engines.inspection import inspect
from handler.errors import StartError
try:
    files = remote_files(locate("org/model"), Hub(sys.argv[1] or None, sys.argv[2] or None))
    print(inspect(files, {}).assignment.model_class)
except StartError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def checkpoint(hub, tmp_path):
    written = write_checkpoint(tmp_path / "uploaded")
    hub.files = {path.name: path.read_bytes() for path in written.iterdir()}
    hub.needs_token = True
    return hub


def test_a_model_is_inspected_without_a_download(checkpoint, tmp_path):
    outcome = start(checkpoint.url, tmp_path, token="hf_right", script=READING)
    assert outcome.stdout == "LlavaForConditionalGeneration\n", outcome.stderr
    assert not list(tmp_path.rglob("blobs/*"))
    assert "GatedRepo" not in outcome.stderr
    assert "is gated; ask for access" in start(checkpoint.url, tmp_path, script=READING).stderr


def test_a_cached_model_is_inspected_without_the_hub(checkpoint, tmp_path):
    assert start(checkpoint.url, tmp_path, token="hf_right").returncode == 0
    for environ in ({"HF_HUB_OFFLINE": "1"}, {}):
        outcome = start("http://127.0.0.1:9", tmp_path, script=READING, **environ)
        assert outcome.stdout == "LlavaForConditionalGeneration\n", outcome.stderr
    assert "check the network" in start("http://127.0.0.1:9", tmp_path / "other", script=READING).stderr
