"""Clients as they are published, against the real engine: the SageMaker SDK, boto3 and Xinference's client."""

import json
import subprocess
from pathlib import Path

import boto3
import botocore.exceptions
import pytest

from container.options import resolve
from handler.engines import vllm
from tests.drawn import url
from tests.sagemaker_endpoint import endpoint
from tests.serving import ask

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
# The SDK wants other versions of packages than vLLM does.
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
RED, BLUE = url("red", "circle"), url("blue", "square")
BOTH = "the first shows a red circle, the second a blue square"


def run(script, *arguments, told):
    if not PYTHON.exists():
        pytest.fail("there is no .venv-clients; ./build.sh test installs it")
    done = subprocess.run(
        [PYTHON, "-W", "ignore", ROOT / "tests" / "clients" / script, *arguments],
        input=told,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def content(completion):
    return completion["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def runtime(live):
    with endpoint(live.url) as address:
        yield boto3.client(
            "sagemaker-runtime",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )


@pytest.fixture(scope="module")
def sdk(live):
    with endpoint(live.url) as address:
        return run("sagemaker_sdk.py", live.url, address, told=json.dumps([RED, BLUE]))


def test_the_environment_that_djlmodel_sets_is_understood(sdk, directory):
    resolved = resolve(sdk["environment"], engine_fields=vllm.field_names, model_directory=directory / "none")
    assert resolved.options.model_id == "llava-hf/llava-v1.6-mistral-7b-hf"
    assert resolved.options.limit_mm_per_prompt["image"] == 2
    assert resolved.warnings == ()


def test_the_predictor_of_a_local_session_is_answered(sdk):
    assert content(sdk["local"]) == BOTH
    assert sdk["refused locally"]["error"]["param"] == "messages"


def test_a_predictor_is_answered_through_an_endpoint(sdk):
    assert content(sdk["remote"]) == BOTH
    assert sdk["generated"]["generated_text"]


def test_the_lines_of_a_stream_are_chunks(sdk):
    assert "".join(line["choices"][0]["delta"].get("content") or "" for line in sdk["lines"]) == "a red circle"


def test_boto3_reads_what_the_container_answers(runtime):
    answered = runtime.invoke_endpoint(
        EndpointName="any", ContentType="application/json", Body=json.dumps({**ask("What is in the image?", RED)})
    )
    assert content(json.load(answered["Body"])) == "a red circle"


def test_boto3_reads_the_containers_refusal(runtime):
    with pytest.raises(botocore.exceptions.ClientError) as refusal:
        runtime.invoke_endpoint(EndpointName="any", ContentType="application/json", Body=b'{"messages": []}')
    told = refusal.value.response
    assert told["OriginalStatusCode"] == 400
    assert json.loads(told["OriginalMessage"])["error"]["param"] == "messages"


def test_boto3_reads_a_stream_of_tokens(runtime):
    body = {"inputs": "hi", "parameters": {"max_new_tokens": 3, "ignore_eos_token": True}, "stream": True}
    stream = runtime.invoke_endpoint_with_response_stream(
        EndpointName="any", ContentType="application/json", Body=json.dumps(body)
    )
    assert stream["ContentType"] == "application/jsonlines"
    data = b"".join(event["PayloadPart"]["Bytes"] for event in stream["Body"])
    lines = [json.loads(line) for line in data.splitlines()]
    assert len(lines) == 3
    assert lines[-1]["details"]["finish_reason"] == "length"


def test_boto3_opens_and_closes_a_session(runtime):
    opened = runtime.invoke_endpoint(
        EndpointName="any", ContentType="application/json", Body=b'{"requestType": "NEW_SESSION"}'
    )
    name = opened["NewSessionId"].partition(";")[0]
    answered = runtime.invoke_endpoint(
        EndpointName="any", ContentType="application/json", SessionId=name, Body=json.dumps(ask("hi", max_tokens=1))
    )
    assert answered["ResponseMetadata"]["HTTPStatusCode"] == 200
    closed = runtime.invoke_endpoint(
        EndpointName="any", ContentType="application/json", SessionId=name, Body=b'{"requestType": "CLOSE"}'
    )
    assert closed["ClosedSessionId"] == name


def test_the_client_of_xinference_chats_about_an_image(live):
    told = run("xinference_client_chat.py", live.url, "lumi-demo", told=RED)
    assert told["handle"] == "RESTfulChatModelHandle"
    assert content(told["whole"]) == "a red circle"
    pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in told["streamed"] if chunk["choices"]]
    assert "".join(pieces) == "a red circle"
    assert "'audio'" in told["audio"]
    assert "images are the only media" in told["audio"]
