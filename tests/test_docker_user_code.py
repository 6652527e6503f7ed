"""User code beside a model, executed in the image by a user that nobody knows; vLLM is not started."""

import httpx
import pytest

from tests.containers import Container, require_docker
from tests.user_code import wheel, write

pytestmark = pytest.mark.docker

CODE = """
    import os

    import lumi_wanted
    import numpy
    from djl_python import Output

    def handle(inputs):
        if inputs.is_empty():
            return None
        doubled = (numpy.array(inputs.get_as_json()["inputs"]) * 2).tolist()
        return Output().add_as_json({"doubled": doubled, "user": os.getuid(), "wanted": lumi_wanted.version})
"""


@pytest.fixture(scope="module", autouse=True)
def docker():
    require_docker()


def test_a_model_py_answers_with_the_requirements_that_the_image_lacks_beside_those_it_has(tmp_path):
    model = tmp_path / "model"
    write(model, CODE)
    wheel(model, "lumi_wanted", "3.0")
    (model / "requirements.txt").write_text("numpy\n./lumi_wanted-3.0-py3-none-any.whl\n")
    run = ("--user", "4242:4242", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
    # What is there already is not even looked for elsewhere: an index would be asked in vain.
    variables = {"OPTION_INSTALL_REQUIREMENTS": "true", "PIP_NO_INDEX": "1"}
    with Container(run=run, model=model, **variables) as container:
        container.wait_until_ready()
        answer = httpx.post(f"{container.url}/invocations", json={"inputs": [1, 2]}, timeout=30)
        assert (answer.status_code, answer.json()) == (200, {"doubled": [2, 4], "user": 4242, "wanted": "3.0"})
        assert "installed lumi_wanted 3.0 to /tmp/" in container.log()
        assert not any(title.startswith("VLLM") for _, _, title in container.processes())
        container.docker("stop", "-t", "60")
        assert container.state()["ExitCode"] == 0
