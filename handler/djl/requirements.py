"""requirements.txt beside the user's code -> a directory of packages, separate from those of the server."""

import importlib.metadata
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handler.djl.entry_point import EntryPoint
from handler.errors import StartError

log = logging.getLogger("lumi.user_code")

FILE_NAME = "requirements.txt"
WHEELS = "requirements"  # a directory of wheels beside it, as in LMI
MAX_LINES = 12  # of pip's output, in the error


def install(entry: EntryPoint, *, allowed: bool) -> Path | None:
    """Install the packages of the model's requirements.txt that the server lacks, and put them first on the search path.

    Returns the directory of the installed packages, or None if there is nothing to install. May block for minutes.
    Raises StartError with pip's last lines.
    """
    file = next((place / FILE_NAME for place in entry.search_path if (place / FILE_NAME).is_file()), None)
    if file is None:
        return None
    if not allowed:
        log.warning("%s is not installed; set OPTION_INSTALL_REQUIREMENTS=true to install its packages", file)
        return None
    missing = _missing_packages(file)
    if not missing:
        log.info("all packages of %s are installed already", file)
        return None
    for name, version, _ in missing:
        if (present := _installed_version(name)) is not None:
            log.warning("%s replaces %s %s with %s, for the server too", file, name, present, version)
    target = Path(tempfile.mkdtemp(prefix="lumi-requirements-"))
    # Without --no-deps, pip would install torch again: with --target it does not see the server's own packages.
    _pip(file, "install", "--no-deps", "--target", str(target), *(address for _, _, address in missing))
    sys.path.insert(0, str(target))
    log.info("installed %s to %s", ", ".join(f"{name} {version}" for name, version, _ in missing), target)
    return target


def _missing_packages(file: Path) -> list[tuple[str, str, str]]:
    """Name, version and URL of each package to install."""
    log.info("reading %s", file)
    wheels = ["--find-links", str(file.parent / WHEELS)] if (file.parent / WHEELS).is_dir() else []
    report = _pip(file, "install", "--dry-run", "--report", "-", *wheels, "--requirement", str(file))
    packages: list[dict[str, Any]] = json.loads(report)["install"]
    return [(item["metadata"]["name"], item["metadata"]["version"], item["download_info"]["url"]) for item in packages]


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(file: Path, *arguments: str) -> str:
    common = ("--quiet", "--no-input", "--disable-pip-version-check")
    command: Sequence[str] = (sys.executable, "-m", "pip", *arguments, *common)
    # Relative paths of wheels in the file start at the model directory, as in LMI.
    pip = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)  # noqa: S603  # no shell
    if pip.returncode:
        lines = (pip.stderr or pip.stdout).strip().splitlines()[-MAX_LINES:]
        output = "\n".join(f"  {line}" for line in lines)
        raise StartError(f"{file} could not be installed; pip exited with {pip.returncode}:\n{output}")
    return pip.stdout
