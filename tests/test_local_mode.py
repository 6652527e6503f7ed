"""SageMaker's own SDK, unmodified, deploys the image to this machine's Docker engine, asks about two images, and goes."""

import json
import os
import shutil
import subprocess

import pytest

from demo.images import draw
from tests.containers import EXPECTED, IMAGE, MODEL, ROOT, _docker, require_docker
from tests.live import free_port

pytestmark = pytest.mark.docker

PYTHON = ROOT / ".venv-clients" / "bin" / "python"


@pytest.fixture(scope="module", autouse=True)
def sdk():
    require_docker()
    missing = None
    if not PYTHON.exists():
        missing = "the clients' environment .venv-clients is not there; ./build.sh test makes it"
    elif shutil.which("docker-compose") is None and _docker("compose", "version", check=False).returncode != 0:
        missing = "local mode wants docker-compose; Debian: apt-get install docker-compose"
    if missing and EXPECTED:
        pytest.fail(f"LUMI_EXPECT_DOCKER=1, but {missing}")
    if missing:
        pytest.skip(missing)


def test_deploy_predict_and_delete_endpoint(tmp_path):
    images = []
    for color, shape in (("red", "circle"), ("blue", "star")):
        image = tmp_path / f"{color}-{shape}.png"
        draw(color, shape).save(image)
        images.append(image)
    arguments = [IMAGE, MODEL, str(free_port()), *images]
    outcome = subprocess.run(
        [PYTHON, ROOT / "tests" / "clients" / "local_mode.py", *arguments],
        cwd=tmp_path,
        env={
            **os.environ,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=590,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    answer = json.loads(outcome.stdout.splitlines()[-1])
    assert answer["choices"][0]["message"]["content"] == "the first shows a red circle, the second a blue star"
    assert _docker("ps", "-q", "--filter", f"ancestor={IMAGE}", "--filter", "name=sagemaker").stdout == ""
