"""./build.sh image, with an engine that only records its arguments."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
DOCKER = "Docker version 28.5.2, build 1"
PODMAN = "podman version 5.8.6"


def build(*arguments, **environ):
    return subprocess.run(
        [ROOT / "build.sh", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def make_engine(directory, version=DOCKER, buildx=False, push=True, manifest="docker.distribution.manifest.v2"):
    script = directory / "engine"
    script.write_text(
        f"""#!/bin/sh
echo "$@" >>{directory}/said
case "$*" in
    --version) echo '{version}' ;;
    'buildx version') {str(buildx).lower()} ;;
    'image ls --format'*) echo 2.41GB ;;
    'image inspect'*) echo '"application/vnd.{manifest}+json"' ;;
    push*) {str(push).lower()} ;;
esac
"""
    )
    script.chmod(0o755)
    return script


@pytest.fixture
def engine(tmp_path):
    return make_engine(tmp_path)


def said(engine):
    return (engine.parent / "said").read_text()


def image(engine, *arguments, **environ):
    return build("image", *arguments, ENGINE=str(engine), **environ)


def test_the_image_is_built_for_its_device_and_the_line_that_runs_it_is_printed(engine):
    outcome = image(engine, "--device=cpu", "--tag", "a:b", "--", "--no-cache", BASE="own:1")
    assert outcome.returncode == 0
    assert "2.41GB" in outcome.stderr
    assert outcome.stdout.startswith(f"{engine} run --rm -p 8080:8080 -e HF_MODEL_ID=")
    command = next(line for line in said(engine).splitlines() if line.startswith("build "))
    for words in ("--target cpu", "-t a:b", "BASE=own:1", "ONLY=cpu", "--no-cache ."):
        assert words in command


@pytest.mark.parametrize(
    ("version", "gpus"), [(DOCKER, "--gpus all"), (PODMAN, "--device nvidia.com/gpu=all")], ids=["docker", "podman"]
)
def test_a_gpu_image_is_run_with_gpus(tmp_path, version, gpus):
    outcome = image(make_engine(tmp_path, version), "--device", "gpu")
    assert gpus in outcome.stdout
    cuda = re.search(r"(?m)^nvidia-cuda-runtime==(\d+)\.(\d+)\.", (ROOT / "requirements/gpu.txt").read_text())
    assert f"lumi:gpu-cu{cuda[1]}{cuda[2]}\n" in outcome.stdout


@pytest.mark.parametrize(
    ("version", "buildx", "buildkit", "command"),
    [
        (DOCKER, False, "", "build -f image/Dockerfile"),
        (DOCKER, True, "", "buildx build --output type=docker,oci-mediatypes=false -f image/Dockerfile"),
        (DOCKER, True, "0", "build -f image/Dockerfile"),
        (PODMAN, True, "", "build --format docker -f image/Dockerfile"),
    ],
    ids=["classic", "buildx", "buildx-not-wanted", "podman"],
)
def test_every_builder_is_asked_for_the_format_that_sagemaker_takes(tmp_path, version, buildx, buildkit, command):
    engine = make_engine(tmp_path, version, buildx)
    assert image(engine, "--device=cpu", DOCKER_BUILDKIT=buildkit).returncode == 0
    assert any(line.startswith(command) for line in said(engine).splitlines())


@pytest.mark.parametrize("manifest", ["docker.distribution.manifest.v2", "oci.image.manifest.v1"])
def test_a_format_that_sagemaker_refuses_is_not_passed_over(tmp_path, manifest):
    outcome = image(make_engine(tmp_path, manifest=manifest), "--device=cpu")
    assert ("which SageMaker rejects" in outcome.stderr) is manifest.startswith("oci")


@pytest.mark.parametrize(
    ("repository", "tag", "pushed"),
    [
        ("registry.example/team/lumi", "lumi:cpu", "registry.example/team/lumi:cpu"),
        ("127.0.0.1:5000/lumi:v1", "a:b", "127.0.0.1:5000/lumi:v1"),
        ("localhost/lumi", "localhost:5000/lumi", "localhost/lumi:latest"),
        ("team/lumi", "lumi:1.0", "docker.io/team/lumi:1.0"),
    ],
)
def test_what_is_pushed_has_the_tag_of_the_repository_or_else_of_the_image(engine, repository, tag, pushed):
    outcome = image(engine, "--device=cpu", "--tag", tag, "--push", repository)
    assert outcome.returncode == 0
    assert f"push {pushed}\n" in said(engine)
    assert f"{engine} login {pushed.split('/')[0]}" in outcome.stdout.splitlines()


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (ECR, "eu-west-1"),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("111122223333.dkr-ecr.us-west-2.on.aws", "us-west-2"),
    ],
)
def test_a_push_to_ecr_shows_the_login(engine, host, region):
    outcome = image(engine, "--device=cpu", "--push", f"{host}/lumi")
    login = f"aws ecr get-login-password --region {region} | {engine} login --username AWS --password-stdin {host}"
    assert login in outcome.stdout.splitlines()
    assert f"push {host}/lumi:cpu" in said(engine)


def test_a_push_that_is_refused_ends_with_what_to_do_and_the_command_that_tries_again(tmp_path):
    engine = make_engine(tmp_path, push=False)
    outcome = image(engine, "--device=cpu", "--push", f"{ECR}/team/lumi:v1")
    assert outcome.returncode == 1
    assert "aws ecr create-repository --region eu-west-1 --repository-name team/lumi)" in outcome.stderr
    assert outcome.stderr.endswith(f"{engine} push {ECR}/team/lumi:v1\n")


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["image"], {"ENGINE": "false"}, "no container engine is available"),
        (["image"], {"ENGINE": "no-such-engine"}, "no-such-engine: no such command"),
        (["image", "--report"], {"ENGINE": "no-such-engine"}, "no-such-engine: no such command"),
        (["image", "--push"], {}, "--push needs a repository"),
        (["image", "--push", "lumi"], {}, "--push needs REGISTRY/REPOSITORY, not 'lumi'"),
        (["image", "--push", "https://a.example/lumi"], {}, "without https://"),
        (["image", "--push", "a.example/lumi/"], {}, "not 'a.example/lumi/'"),
        (["image", "--push", "a.example/lumi", "--report"], {}, "--report does not push"),
        (["image", "--tag"], {}, "--tag needs a name"),
        (["image", "--tag", "Lumi:cpu"], {}, "in lower case"),
        (["image"], {"ENGINE": "true", "CA_BUNDLE": "/no/such"}, "names /no/such, which is not readable"),
        (["serve", "--push", "x"], {}, "unknown argument '--push'"),
    ],
)
def test_an_error_names_what_is_wrong(arguments, environ, words):
    outcome = build(*arguments, **environ)
    assert outcome.returncode != 0
    assert words in outcome.stderr


def test_certificates_to_build_with_are_left_nowhere(engine, tmp_path):
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("trusted")
    assert image(engine, "--device=cpu", CA_BUNDLE=str(bundle)).returncode == 0
    assert not (ROOT / "requirements" / "ca-bundle.crt").exists()
