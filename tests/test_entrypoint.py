import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from container.entrypoint import main, vllm_settings
from container.model_store import locate
from container.options import resolve
from container.start.service import media_limits
from handler.engines.vllm import field_names
from handler.errors import StartError
from tests.checkpoints import write_checkpoint
from tests.s3_server import s3_served

ROOT = Path(__file__).parent.parent
MODEL = str(ROOT / "demo" / "model")


def settings_of(options):
    return vllm_settings(options, locate(options.model_id))


def options(**environ):
    return resolve({"OPTION_MODEL_ID": MODEL, **environ}, engine_fields=field_names).options


def cleared():
    return {name: value for name, value in os.environ.items() if not name.startswith(("OPTION_", "SERVING_", "HF_"))}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_until_ready(client, process):
    for _ in range(600):  # a process that starts on a busy machine takes its time
        with contextlib.suppress(httpx.ConnectError):
            if client.get("/ping").status_code == 200:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    raise AssertionError("it did not become ready")


def run(*arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "container", *arguments],
        cwd=ROOT,
        env={**cleared(), "OPTION_MODEL_ID": MODEL, "HF_HUB_OFFLINE": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_options_become_what_vllm_is_started_with():
    settings = settings_of(options(OPTION_BLOCK_SIZE="64", OPTION_TENSOR_PARALLEL_DEGREE="2", HF_TOKEN="hf_x"))
    assert settings.arguments["model"] == MODEL
    assert settings.arguments["tensor_parallel_size"] == 2
    assert settings.texts["block_size"] == "64"
    assert settings.arguments["hf_token"] == "hf_x"
    assert settings.names == ("lumi-demo",)


def test_images_stand_where_their_parts_do_unless_the_operator_says_otherwise():
    assert settings_of(options()).arguments["interleave_mm_strings"] is True
    assert settings_of(options(OPTION_INTERLEAVE_MM_STRINGS="false")).texts["interleave_mm_strings"] == "false"


def test_options_become_the_limits_of_media():
    limits = media_limits(
        options(
            OPTION_IMAGE_FETCH_TIMEOUT="3",
            OPTION_MEDIA_ALLOWED_NETWORKS="10.0.0.0/8",
            OPTION_ALLOWED_MEDIA_DOMAINS="a.b",
        )
    )
    assert (limits.images_per_prompt, limits.fetch_seconds, limits.allowed_hosts) == (4, 3.0, ("a.b",))
    assert str(limits.allowed_networks[0]) == "10.0.0.0/8"


def test_an_unknown_command_says_what_there_is(capsys):
    assert main(["dance"], {}) == 1
    assert "serve | check" in capsys.readouterr().err


def test_a_start_without_a_model_says_how_to_name_one(capsys):
    assert main(["serve"], {}) == 1
    assert "HF_MODEL_ID" in capsys.readouterr().err


def test_no_model_is_a_fault_of_the_start(tmp_path):
    with pytest.raises(StartError):
        settings_of(resolve({}, engine_fields=set, model_directory=tmp_path).options)


def test_a_misspelt_option_ends_the_start_with_the_right_name():
    outcome = run("serve", OPTION_LIMIT_MM_PER_PROMT='{"image":2}')
    assert outcome.returncode == 1
    assert "did you mean OPTION_LIMIT_MM_PER_PROMPT?" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.engine
def test_check_shows_every_option_and_the_same_as_vllm_serve():
    outcome = run("check", OPTION_MAX_ROLLING_BATCH_SIZE="7", HF_TOKEN="hf_secretsecret")
    assert outcome.returncode == 0, outcome.stderr
    assert "max_rolling_batch_size" in outcome.stdout
    assert "OPTION_MAX_ROLLING_BATCH_SIZE" in outcome.stdout
    assert f"vllm serve {MODEL}" in outcome.stdout
    assert "--max-num-seqs 7" in outcome.stdout
    assert "hf_secret" not in outcome.stdout + outcome.stderr


def test_a_model_without_a_served_name_answers_to_lmi_as_well(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    settings = settings_of(resolve({"HF_MODEL_ID": str(tmp_path)}, engine_fields=set).options)
    assert settings.names == (tmp_path.name, str(tmp_path), "lmi")


def test_variables_for_the_engine_are_in_the_environment_when_it_starts(tmp_path):
    environ = {"OPTION_ENV": "NEW=1,OLD=2,DO_NOT_TRACK=0", "OLD": "1", "SERVING_MODEL_STORE": str(tmp_path)}
    assert main(["serve"], environ) == 1  # there is no model
    assert (environ["NEW"], environ["OLD"], environ["DO_NOT_TRACK"]) == ("1", "2", "0")


def test_options_beside_a_model_on_s3_are_read_before_the_start(tmp_path, monkeypatch, capsys):
    (tmp_path / "serving.properties").write_text("# on S3\noption.dtipe=bf16\n")
    with s3_served() as store:
        store.put("m/serving.properties", tmp_path / "serving.properties")
        for name, value in {"ENDPOINT_URL": store.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        assert main(["serve"], {"HF_MODEL_ID": "s3://bucket/m"}) == 1
    assert "option.dtipe='bf16' (serving.properties line 2) is not an option; did you mean" in capsys.readouterr().err


def test_a_secret_in_a_faulty_setting_is_masked(capsys):
    assert main(["serve"], {"HF_MODEL_ID": MODEL, "OPTION_CHAT_TEMPLATE": "http://u:HUSH@127.0.0.1:1/t?sig=HUSH"}) == 1
    printed = capsys.readouterr().err
    assert "could not be fetched" in printed
    assert "HUSH" not in printed


@pytest.mark.engine
def test_check_reports_what_vllm_would_reject():
    outcome = run("check", OPTION_BLOCK_SIZE="many", OPTION_KV_CACHE_DTYPE="float3")
    assert outcome.returncode == 1
    assert "OPTION_BLOCK_SIZE='many'" in outcome.stderr
    assert "OPTION_KV_CACHE_DTYPE='float3'" in outcome.stderr
    assert "Traceback" not in outcome.stderr


SUM = """
from djl_python import Output
names = open("names.txt").read().split()

def handle(inputs):
    if inputs.is_empty():
        assert inputs.get_properties()["my_option"] == "7"
        return None
    return Output().add_as_json({"sum": sum(inputs.get_as_json()), "names": names})
"""


def test_a_model_py_is_served_from_the_directory_that_is_named_without_vllm(tmp_path):
    (tmp_path / "model.py").write_text(SUM)
    (tmp_path / "names.txt").write_text("a b")
    (tmp_path / "serving.properties").write_text("engine=Python\noption.my_option=7\n")
    port = free_port()
    environ = {**cleared(), "HF_MODEL_ID": str(tmp_path), "OPTION_PORT": str(port), "OPTION_HOST": "127.0.0.1"}
    server = subprocess.Popen(
        [sys.executable, "-m", "container", "serve"],
        cwd=ROOT,
        env=environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            wait_until_ready(client, server)
            assert client.post("/invocations", json=[1, 2]).json() == {"sum": 3, "names": ["a", "b"]}
        server.terminate()
        _, printed = server.communicate(timeout=20)
        assert server.returncode == 0, printed
        assert b"It is passed to" in printed
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_first_moment_of_a_start_ends_it_well(number):
    # Only an audit hook, within the process, knows how far its imports are.
    watch = (
        "import os, runpy, sys\n"
        "def hook(event, arguments):\n"
        f"    if event == 'import' and arguments[0] == 'container.start.warm_up': os.kill(os.getpid(), {int(number)})\n"
        "sys.addaudithook(hook)\n"
        "sys.argv[1:] = ['serve']\n"
        "runpy.run_module('container', run_name='__main__', alter_sys=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", watch], cwd=ROOT, env=cleared(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_code_that_leaves_the_model_to_vllm_needs_one(tmp_path):
    (tmp_path / "model.py").write_text("X = 1\n")
    outcome = run("serve", OPTION_MODEL_ID=str(tmp_path), OPTION_PORT=str(free_port()))
    assert outcome.returncode == 1
    assert "The user's code leaves the model to vLLM, but no model is named; set HF_MODEL_ID." in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_check_names_the_code_and_executes_nothing(tmp_path):
    (tmp_path / "model.py").write_text("raise SystemExit(9)\n")
    outcome = run("check", OPTION_MODEL_ID=str(tmp_path))
    assert outcome.returncode == 0, outcome.stderr
    assert f"{tmp_path}/model.py is executed at the start" in outcome.stdout


def test_check_describes_the_model_and_refuses_what_a_start_would(tmp_path):
    outcome = run("check", OPTION_MODEL_ID=str(write_checkpoint(tmp_path / "whole")))
    assert outcome.returncode == 0, outcome.stderr
    assert re.search(r"^model class +LlavaForConditionalGeneration$", outcome.stdout, re.MULTILINE)
    outcome = run("check", "--instance-type", "ml.g9.huge", OPTION_MODEL_ID=str(tmp_path / "whole"))
    assert outcome.returncode == 1
    assert "'ml.g9.huge' is not a type" in outcome.stderr
    dropped = {"architectures": ["Tarsier2ForConditionalGeneration"], "vision_config": {}}
    refused = write_checkpoint(tmp_path / "dropped", config=dropped)
    sentences = {run(command, OPTION_MODEL_ID=str(refused)).stderr.splitlines()[-1] for command in ("check", "serve")}
    assert len(sentences) == 1
    assert "vLLM 0.23.0 was the last that had it" in sentences.pop()


def test_check_says_which_engine_runs_a_model_that_vllm_has_dropped(tmp_path):
    config = {"architectures": ["MllamaForConditionalGeneration"], "model_type": "mllama", "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = run("check", OPTION_MODEL_ID=str(tmp_path))
    assert "transformers" in done.stdout
    assert "vllm serve /" not in done.stdout
    refused = run("check", OPTION_MODEL_ID=str(tmp_path), OPTION_TRANSFORMERS_ENGINE="never")
    assert "OPTION_TRANSFORMERS_ENGINE=never refuses" in refused.stderr
    always = run("check", OPTION_TRANSFORMERS_ENGINE="always")
    assert f"{MODEL} is run by transformers" in always.stdout
