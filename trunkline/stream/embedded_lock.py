"""One consumer process per group on this machine: a lock that dies with whoever holds it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from trunkline.errors import GroupTaken, StreamUnavailable


class GroupLock:
    """The file stays behind on purpose: removing it would let two holders lock two files."""

    def __init__(self, database: Path, group: str) -> None:
        self._path = database.with_name(f"{database.name}.{quote(group, safe='')}.lock")
        try:
            self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StreamUnavailable(f"cannot open {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip()
            self.release()
            raise GroupTaken(
                f"group {group} already has a consumer: process {holder or 'unknown'}"
            ) from None
        # On a full disk the lock holds all the same; only its holder's name is missing.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
