"""Sessions of a handler: each keeps values and arrays as files in a directory of its own, as LMI's SessionManager does.

The contract is that of session_manager.py in djl-serving d21927c4 (2026-06-24).
"""

import logging
import os
import pickle
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

log = logging.getLogger("lumi.user_code")

SECONDS = 1200  # LMI's default of sessions_expiration
NEW_SESSION = "NEW_SESSION"  # a client's word for a session that is still to be created
_MEMORY = Path("/dev/shm")  # noqa: S108  # LMI's place; the directory in it belongs to this user alone
_EXPIRATION = ".expiration_ts"


class Session:
    """The files of one session. `expiration_ts` is a Unix time in seconds."""

    def __init__(self, session_id: str, session_root: str, expiration_ts: float | None = None) -> None:
        self.session_id = session_id
        self.files_path = str(Path(session_root) / session_id)
        self.expiration_ts: float | None = self.get(_EXPIRATION) if expiration_ts is None else expiration_ts

    @property
    def is_expired(self) -> bool:
        return self.expiration_ts is None or time.time() > self.expiration_ts

    def put(self, key: str, value: Any) -> None:
        """Keep `value`, of any type that can be pickled."""
        with self._path(key).open("wb") as file:
            pickle.dump(value, file)

    def get(self, key: str, d: Any = None) -> Any:
        """The value of `key`, or `d` if there is none."""
        path = self._path(key)
        if not path.is_file():
            return d
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301  # `put` wrote it, into a directory that only this user may write

    def get_as_numpy(self, key: str, shape: tuple[int, ...], dtype: Any = None, create: bool = False) -> Any:
        """An array of float32, or of `dtype`, whose elements are those of a file; zeros if it is to be created."""
        import numpy as np  # noqa: PLC0415  # half a second, only where it is used

        mode: Any = "w+" if create else "r+"
        return np.memmap(self._path(key), dtype=np.float32 if dtype is None else dtype, mode=mode, shape=shape)

    def remove(self) -> bool:
        """Remove the files. Raises ValueError if there are none."""
        if not Path(self.files_path).is_dir():
            raise ValueError(f"session directory does not exist: {self.session_id}")
        shutil.rmtree(self.files_path)
        return True

    def _path(self, key: str) -> Path:
        return Path(self.files_path) / key.replace("/", "-")


class SessionManager:
    """The sessions in the directory `sessions_path` of the options, which outlive the process. They expire after
    `sessions_expiration` seconds."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.expiration = int(float(properties.get("sessions_expiration", SECONDS)))
        default = (_MEMORY if _MEMORY.is_dir() else Path(gettempdir())) / "djl_sessions"
        self.sessions_path = str(properties.get("sessions_path", default))
        if properties.get("sessions_s3url"):
            log.warning(
                "sessions_s3url has no effect: sessions are not copied to S3, and stay in %s", self.sessions_path
            )
        root = Path(self.sessions_path)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root.stat().st_uid != os.getuid():
            raise PermissionError(
                f"{root} belongs to another user; set OPTION_SESSIONS_PATH to a directory of your own."
            )
        # Other directories are left alone: what has expired is removed.
        found = (Session(path.parent.name, self.sessions_path) for path in root.glob(f"*/{_EXPIRATION}"))
        self.sessions = {session.session_id: session for session in found}

    def create_session(self) -> Session:
        """A new session. Those that have expired are removed."""
        for session_id in [name for name, session in self.sessions.items() if session.is_expired]:
            self.close_session(session_id)
        expires = time.time() + self.expiration
        session = Session(str(uuid.uuid4()), self.sessions_path, expires)
        Path(session.files_path).mkdir(mode=0o700)
        session.put(_EXPIRATION, expires)
        self.sessions[session.session_id] = session
        return session

    def get_session(self, session_id: str | None) -> Session | None:
        """The open session, or None if the id is empty or the session has expired. Raises ValueError for an unknown id."""
        if not session_id or session_id == NEW_SESSION:
            return None
        session = self._find(session_id)
        return None if session.is_expired else session

    def close_session(self, session_id: str | None) -> None:
        """Remove a session with its files. Raises ValueError."""
        if not session_id:
            raise ValueError(f"invalid session_id: {session_id}")
        self._find(session_id).remove()
        del self.sessions[session_id]

    def _find(self, session_id: str) -> Session:
        if session_id not in self.sessions:
            raise ValueError(f"session not found: {session_id}")
        return self.sessions[session_id]
