"""The one door to sqlite3: opens the file, runs transactions, and says in our words what failed."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TypeVar

from trunkline.errors import StreamUnavailable
from trunkline.stream import sqlite_schema as schema

T = TypeVar("T")

# SQLite's own waiting sleeps up to 100 ms; another writer's transaction takes about one.
_PAUSE_SECONDS = 0.0005
_UNUSABLE = {
    sqlite3.SQLITE_NOTADB: "{path} is not an SQLite database: {error}",
    sqlite3.SQLITE_CORRUPT: "{path} is corrupted: {error}; restore it or move it away",
    sqlite3.SQLITE_CANTOPEN: "{path} cannot be opened: {error}",
    sqlite3.SQLITE_PERM: "{path} may not be accessed: {error}",
    sqlite3.SQLITE_READONLY: "{path} cannot be written: {error}",
}
_PASSING = {
    sqlite3.SQLITE_FULL: "no room left for {path}: {error}",
    sqlite3.SQLITE_BUSY: "{path} is held by another process: {error}",
}
_OTHER = "{path} failed: {error}"


class FileUnusable(StreamUnavailable):
    """Waiting will not mend it: somebody has to look at the file or its directory."""


def _primary(error: sqlite3.Error) -> int:
    # Errors made in Python rather than in SQLite carry no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _in_our_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = _primary(error)
        if code in _UNUSABLE:
            raise FileUnusable(_UNUSABLE[code].format(path=path, error=error)) from None
        text = _PASSING.get(code, _OTHER).format(path=path, error=error)
        raise StreamUnavailable(text) from None
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise FileUnusable(f"{path} cannot be opened: {error}") from None
    except OSError as error:
        raise StreamUnavailable(f"{path} cannot be opened: {error}") from None


class SqliteFile:
    """One connection, opened when needed and again after any failure; for one thread only."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._pause = Event()

    def open(self) -> None:
        with _in_our_words(self._path):
            self._opened()

    def read(self, work: Callable[[schema.Connection], T]) -> T:
        with _in_our_words(self._path), self._dropping_on_failure():
            connection = self._opened()
            return self._patiently(lambda: work(connection))

    def write(self, work: Callable[[schema.Connection], T]) -> T:
        """One transaction, synced to disk on return."""
        with _in_our_words(self._path):
            with self._dropping_on_failure():
                connection = self._opened()
                self._patiently(lambda: connection.execute(schema.BEGIN))
                result = work(connection)
                connection.execute("COMMIT")
            if self._moved():
                self.close()
                raise StreamUnavailable(f"{self._path} was removed or replaced while in use")
        return result

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # It folds the log into the file as far as it can; what is left, the next one folds.
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _dropping_on_failure(self) -> Iterator[None]:
        """Closing rolls back, and after an I/O error nothing cached can be trusted."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._moved():
            self.close()
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._made_private()
            connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            self._connection = connection
            with self._dropping_on_failure():
                self._patiently(lambda: self._prepare(connection))
            status = self._path.stat()
            self._identity = status.st_dev, status.st_ino
        return self._connection

    def _made_private(self) -> None:
        """It holds personal data. Its log gets the same mode from SQLite; an old file keeps its."""
        # Only ever a file nobody has open: closing it here would end the locks of other openings.
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if self._is_new(connection):
            for pragma in schema.PRAGMAS_NEW:
                connection.execute(pragma)
        for pragma in schema.PRAGMAS:
            connection.execute(pragma)
        if self._is_new(connection):
            connection.execute(schema.BEGIN)
            if self._is_new(connection):  # another process may just have made them
                for statement in schema.TABLES:
                    connection.execute(statement)
            connection.execute("COMMIT")
            self._sync_directory()
        # After a failure the log may be long; folded in, its room can be used again.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        """Raises if the file is somebody else's, before anything in it is changed."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application == schema.APPLICATION_ID and version == schema.VERSION:
            return False
        if application == schema.APPLICATION_ID:
            raise FileUnusable(
                f"{self._path} has layout {version}, this program knows {schema.VERSION}: "
                "read it with the version that made it, or move it away"
            )
        if tables or application or version:
            raise FileUnusable(f"{self._path} is the database of another program")
        return True

    def _sync_directory(self) -> None:
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _patiently(self, action: Callable[[], T]) -> T:
        """Try what others may hold up: their write, or their opening or closing of the file."""
        for _ in range(int(self._busy_seconds / _PAUSE_SECONDS)):
            try:
                return action()
            except sqlite3.OperationalError as error:
                if _primary(error) != sqlite3.SQLITE_BUSY:
                    raise
                self._pause.wait(_PAUSE_SECONDS)
        return action()

    def _moved(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity
