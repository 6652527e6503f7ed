"""Secrets that the suite's requests and servers have, and everything that the suite logs."""

import logging
from pathlib import Path

from container.logs import JsonFormatter

API_KEY = "lumi-test-api-key-5f1c9b"
HF_TOKEN = "hf_LumiTestToken5f1c9b5f1c9b"  # it opens nothing
AWS_SECRET = "LumiTest/AwsSecret+5f1c9b"
SIGNATURE = "5f1c9blumitestsignature"
BODY = "quixotic zeppelin 5f1c9b"
IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABEAAAANCAIAAADAGxJNAAAAGUlEQVR4nGNkaGhgIBEwkaphVM+oHgr0AADGlgEaCTJUrAAAAABJRU5ErkJggg=="
SECRETS = (API_KEY, HF_TOKEN, AWS_SECRET, SIGNATURE, BODY, IMAGE.partition(",")[2][40:])

# What every server of the suite is started with.
ENVIRON = {"HF_TOKEN": HF_TOKEN, "AWS_SECRET_ACCESS_KEY": AWS_SECRET}


class LeakWatch(logging.Handler):
    """Keeps the lines that show a secret, as the server's formatter writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.leaks += leaks(self.format(record))


def leaks(text: str) -> list[str]:
    """The lines of `text` that show a secret."""
    return [line for line in text.splitlines() if any(secret in line for secret in SECRETS)]


WATCH = LeakWatch()
OUTPUTS: list[Path] = []  # of the servers that the suite has started
