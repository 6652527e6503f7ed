"""What has arrived of a download, written line by line, so that a start which was killed is taken up by the next."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Entry:
    """One file: the object that it is made from, and the MD5s of each `unit` bytes by where their range begins."""

    etag: str
    size: int
    unit: int
    ranges: dict[int, list[bytes]] = field(default_factory=dict)


class Journal:
    """Lines are only ever added, each with one write; what a crash has torn is not understood and so not believed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot = boot()
        self.entries = self._read()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._write({"boot": self._boot})

    def begin(self, name: str, etag: str, size: int, unit: int) -> Entry:
        """Forget what was known of the file `name`."""
        entry = self.entries[name] = Entry(etag, size, unit)
        self._write({"name": name, "etag": etag, "size": size, "unit": unit})
        return entry

    def arrived(self, name: str, start: int, digests: Iterable[bytes]) -> None:
        """The range that begins at `start` is in the file."""
        self._write({"name": name, "start": start, "md5": [digest.hex() for digest in digests]})

    def close(self) -> None:
        os.close(self._file)

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._file, b"\n" + json.dumps(line).encode() + b"\n")

    def _read(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return entries
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if "boot" in line and line["boot"] != self._boot:
                self._path.unlink()  # what was written before may have been lost on its way to the disk
                return {}
            if "etag" in line:
                entries[line["name"]] = Entry(line["etag"], line["size"], line["unit"])
            elif "start" in line and line["name"] in entries:
                entries[line["name"]].ranges[line["start"]] = [bytes.fromhex(digest) for digest in line["md5"]]
        return entries


def boot() -> str:
    """Which boot of the machine this is: a page that was written outlives the process, but perhaps not the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
