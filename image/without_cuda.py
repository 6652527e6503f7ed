"""A site-packages directory with the ordinary build of torch and none of CUDA's libraries -> one where torch works on a CPU.

PyTorch's own index has a build without CUDA (`+cpu`). Without access to it the ordinary build is installed, whose libraries
are linked against 3 GB of CUDA that a machine without a GPU never calls. Each of those libraries is replaced by a stub of a
few KiB with the functions that torch's libraries ask for; all of them return cudaErrorNoDevice, so that torch finds no GPU,
as on a machine without a driver. (NVIDIA ships such stubs itself, to link against.)
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NO_DEVICE = 100  # cudaErrorNoDevice
LINKED = ("torch", "torchvision", "torchaudio", "torchcodec")
UNUSED = ("libtorch_cuda_linalg.so", "libcaffe2_nvrtc.so")  # opened by the first work on a GPU, and not by linking
_LIBRARY = re.compile(r"lib(cu|nv|nccl)")
_FUNCTION = re.compile(r"_*(cu|nv|nccl)[A-Za-z0-9_]+")
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)]")
_VERSION = re.compile(r" File: (\S+)| Name: (\S+)")


def replace_cuda(packages: Path) -> list[str]:
    """Put a stub beside torch's libraries for each library of CUDA that is missing; their names."""
    torch = packages / "torch" / "lib"
    for name in UNUSED:
        (torch / name).unlink(missing_ok=True)
    linked = [file for package in LINKED for file in sorted((packages / package).rglob("*.so"))]
    there = {file.name for file in packages.rglob("*.so*")}
    missing = sorted({name for file in linked for name in needed(file) if _LIBRARY.match(name)} - there)
    provided = {name for file in linked for name, _, defined in symbols(file) if defined}
    wanted = {(name, version) for file in linked for name, version, defined in symbols(file) if not defined}
    owners = {version: library for file in linked for library, version in versions(file)}
    for library in missing:
        # A function without a version is looked for in every library: the first stub has them all.
        free = {name for name, version in wanted if not version} - provided if library == missing[0] else set()
        stub(torch / library, free, {(name, version) for name, version in wanted if owners.get(version) == library})
    return missing


def needed(library: Path) -> list[str]:
    """The libraries that `library` is linked against."""
    return _NEEDED.findall(_readelf("--dynamic", library))


def symbols(library: Path) -> Iterator[tuple[str, str, bool]]:
    """The functions of CUDA that `library` knows: name, version or "", whether it has them itself."""
    for line in _readelf("--dyn-syms", library).splitlines():
        match line.split():
            case [_, _, _, "FUNC" | "NOTYPE", _, _, section, symbol, *_]:
                name, _, version = symbol.replace("@@", "@").partition("@")
                if _FUNCTION.fullmatch(name):
                    yield name, version, section != "UND"


def versions(library: Path) -> Iterator[tuple[str, str]]:
    """The libraries that `library` takes versioned functions from: file and version."""
    file = ""
    for found in _VERSION.finditer(_readelf("--version-info", library)):
        file = found[1] or file
        if found[2]:
            yield file, found[2]


def stub(path: Path, free: set[str], versioned: set[tuple[str, str]]) -> None:
    """Compile the library `path` with the functions `free`, and `versioned` (name, version)."""
    names = sorted(free | {name for name, _ in versioned})
    exported = {
        version: "".join(f"{name};" for name, of in sorted(versioned) if of == version) for _, version in versioned
    }
    with tempfile.TemporaryDirectory() as directory:
        source, script = Path(directory, "stub.c"), Path(directory, "versions")
        source.write_text("".join(f"long {name}(void) {{ return {NO_DEVICE}; }}\n" for name in names))
        script.write_text("".join(f"{version} {{ global: {names} }};\n" for version, names in exported.items()))
        options = [f"-Wl,-soname,{path.name}", *([f"-Wl,--version-script={script}"] if exported else [])]
        command = ["cc", "-shared", "-fPIC", "-w", "-fno-builtin", "-s", *options, "-o", str(path), str(source)]
        subprocess.run(command, check=True)  # noqa: S603  # a command of ours, on names that torch's libraries have


def _readelf(what: str, library: Path) -> str:
    command = ["readelf", "--wide", what, str(library)]  # found on the PATH of the build, as cc is
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


if __name__ == "__main__":
    for stubbed in replace_cuda(Path(sys.argv[1])):
        print(f"without {stubbed}: a stub says that there is no GPU")  # noqa: T201  # the build's log
