"""requirements.txt beside the user's code -> a directory of packages, apart from those of the server."""

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
WHEELS = "requirements"  # a directory of wheels beside it, as LMI knows it
LAST_LINES = 12


def install(entry: EntryPoint, *, allowed: bool) -> Path | None:
    """Install what the model's requirements.txt asks for and the server lacks, and put it first on the search path.

    Returns the directory that it was installed to, or None where there was nothing to do. Blocks, for minutes maybe.
    Raises StartError with pip's last lines.
    """
    file = next((place / FILE_NAME for place in entry.search_path if (place / FILE_NAME).is_file()), None)
    if file is None:
        return None
    if not allowed:
        log.warning("%s is not installed; set OPTION_INSTALL_REQUIREMENTS=true if its packages may be", file)
        return None
    wanted = _missing(file)
    if not wanted:
        log.info("%s asks for nothing that is not there", file)
        return None
    for name, version, _ in wanted:
        if (present := _present(name)) is not None:
            log.warning("%s brings %s %s in place of %s, for the server too", file, name, version, present)
    target = Path(tempfile.mkdtemp(prefix="lumi-requirements-"))
    # What to install was decided against the server's own packages; with --target alone, pip would bring torch again.
    _pip(file, "install", "--no-deps", "--target", str(target), *(address for _, _, address in wanted))
    sys.path.insert(0, str(target))
    log.info("installed %s to %s", ", ".join(f"{name} {version}" for name, version, _ in wanted), target)
    return target


def _missing(file: Path) -> list[tuple[str, str, str]]:
    """Name, version and address of all that would be installed."""
    log.info("reading %s", file)
    wheels = ["--find-links", str(file.parent / WHEELS)] if (file.parent / WHEELS).is_dir() else []
    report = _pip(file, "install", "--dry-run", "--report", "-", *wheels, "--requirement", str(file))
    listed: list[dict[str, Any]] = json.loads(report)["install"]
    return [(item["metadata"]["name"], item["metadata"]["version"], item["download_info"]["url"]) for item in listed]


def _present(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(file: Path, *arguments: str) -> str:
    common = ("--quiet", "--no-input", "--disable-pip-version-check")
    command: Sequence[str] = (sys.executable, "-m", "pip", *arguments, *common)
    # Relative wheels in the file are relative to the model directory, as in LMI.
    ended = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)  # noqa: S603  # no shell
    if ended.returncode:
        last = "\n".join(f"  {line}" for line in (ended.stderr or ended.stdout).strip().splitlines()[-LAST_LINES:])
        raise StartError(f"{file} could not be installed; pip ended with {ended.returncode}:\n{last}")
    return ended.stdout
