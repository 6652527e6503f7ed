"""The layers and packages of an image, as Markdown: `report.py ENGINE TAG`. Needs nothing but Python and the engine."""

import json
import re
import subprocess
import sys

PACKAGES = "/opt/lumi/venv/lib/python3*/site-packages"
MAX_ROWS = 12


def layers(engine: str, tag: str) -> list[tuple[str, int]]:
    """The layers that are not empty, from the lowest: the step that made each, and its bytes."""
    lines = _output(engine, "history", "--no-trunc", "--human=false", "--format", "{{json .}}", tag).splitlines()
    found = [(_made_by(step), int(step["size"])) for line in lines for step in _steps(line)]
    found.reverse()
    return [(made_by, size) for made_by, size in found if size >= 1000]


def packages(engine: str, tag: str) -> list[tuple[str, int]]:
    """The directories of the virtual environment, the largest first, with their bytes; the bytecode is a row of its own."""
    script = (
        f"cd {PACKAGES} && du -s -B1 --apparent-size --exclude='*.pyc' -- */ && "
        "find . -name '*.pyc' -printf '%s\\n' | awk '{ sum += $1 } END { print sum \"\\tbytecode of all\" }'"
    )
    lines = _output(engine, "run", "--rm", "--entrypoint", "sh", tag, "-c", script).splitlines()
    rows = [(name.rstrip("/"), int(size)) for size, name in (line.split("\t") for line in lines)]
    return sorted(rows, key=lambda row: -row[1])


def _steps(line: str) -> list[dict[str, str]]:
    """A line of history: a step, with names as docker or as podman writes them, or (podman 4) all steps."""
    parsed = json.loads(line)
    steps = parsed if isinstance(parsed, list) else [parsed]
    return [{name.lower(): value for name, value in step.items()} for step in steps]


def _made_by(step: dict[str, str]) -> str:
    command = step.get("createdby", "")
    command = re.sub(r"^(RUN )?(\|\d+ .*?(?=/bin/sh))?(/bin/sh -c )?(#\(nop\) )?", "", command).strip()
    command = re.sub(r"(file|dir|multi):[0-9a-f]{64}", r"\1", command).removesuffix("# buildkit").strip()
    return command[:90] or step.get("comment", "") or "base image"


def _output(*command: str) -> str:
    finished = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # the engine that is named
    if finished.returncode != 0:
        sys.exit(f"{' '.join(command[:2])} failed; is there such an image? {finished.stderr.strip()}")
    return finished.stdout


def _table(head: str, rows: list[tuple[str, int]]) -> str:
    lines = [f"| {head} | MB |", "|---|---:|", *(f"| `{name}` | {size / 1e6:.1f} |" for name, size in rows)]
    return "\n".join(lines)


def main(engine: str, tag: str) -> None:
    stacked = layers(engine, tag)
    largest = packages(engine, tag)
    rest = sum(size for _, size in largest[MAX_ROWS:])
    print(_table(f"layer of {tag}", [*stacked, ("all", sum(size for _, size in stacked))]))  # noqa: T201
    print()  # noqa: T201
    print(_table("package", [*largest[:MAX_ROWS], (f"{len(largest) - MAX_ROWS} others", rest)]))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
