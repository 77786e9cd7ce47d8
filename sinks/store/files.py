"""A store on local files: written aside, fsynced, then linked to their name, which link() keeps."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from sinks.store import StoreUnavailable
from trunkline.clock import Clock
from trunkline.stream.embedded_thread import JobThread, ThreadClosed

T = TypeVar("T")

ASIDE = "_aside"
_STALE_SECONDS = 3_600
_THREADS = 4  # waits for the disk overlap: file systems commit several fsyncs at once
_CLOSE_SECONDS = 5.0
_FOLDERS_KNOWN_MAX = 4_096
_ours = re.compile(r"put-[0-9a-f]{32}").fullmatch


class FileStore:
    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root.absolute()
        self._clock = clock
        self._threads = [JobThread(f"store-{n}", clock) for n in range(_THREADS)]
        self._turn = cycle(self._threads)
        self._durable: set[Path] = set()  # folders whose own names are on the disk

    async def __aenter__(self) -> Self:
        """Make the folder, and remove what writers that died long ago left aside."""
        await self._run(self._open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for thread in self._threads:
            await thread.close(lambda: None, _CLOSE_SECONDS)

    async def put_absent(self, name: str, data: bytes) -> bool:
        return await self._run(lambda: self._put(self._path(name), data))

    async def read(self, name: str) -> bytes | None:
        return await self._run(lambda: _read(self._path(name)))

    async def names(self, folder: str) -> list[str]:
        return await self._run(lambda: _names(self._path(folder)))

    async def _run(self, job: Callable[[], T]) -> T:
        try:
            return await next(self._turn).run(job)
        except OSError as error:
            where = error.filename2 or error.filename or self._root
            raise StoreUnavailable(f"store: {where}: {error.strerror}") from error
        except ThreadClosed:
            raise StoreUnavailable("store: closed") from None

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        assert parts, "an object has a name"
        assert not {"/", ".."} & set(parts), f"{name} leads out of the store"
        return self._root.joinpath(*parts)

    def _open(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        aside = self._root / ASIDE
        aside.mkdir(exist_ok=True)
        _sync(self._root)
        for path in aside.iterdir():
            with suppress(FileNotFoundError):  # another process cleans at the same time
                if _ours(path.name) and self._stale(path.lstat()):
                    path.unlink()

    def _stale(self, status: os.stat_result) -> bool:
        age = self._clock.now() - status.st_mtime
        return stat.S_ISREG(status.st_mode) and age > _STALE_SECONDS

    def _put(self, path: Path, data: bytes) -> bool:
        self._make(path.parent)
        created = not path.exists() and self._link(path, data)
        # Also for a file that was there: whoever linked it may have died before this.
        _sync(path.parent)
        return created

    def _link(self, path: Path, data: bytes) -> bool:
        with self._written_aside(data) as aside:
            try:
                path.hardlink_to(aside)
            except FileExistsError:
                return False
            except FileNotFoundError:
                self._durable.discard(path.parent)  # somebody removed the folder
                raise
        return True

    @contextmanager
    def _written_aside(self, data: bytes) -> Iterator[Path]:
        path = self._root / ASIDE / f"put-{uuid4().hex}"
        try:
            with path.open("xb", buffering=0) as file:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """Only below the root: a root that is gone is a store that is gone."""
        if folder in self._durable:
            return
        if folder != self._root:
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync(folder.parent)
        if len(self._durable) >= _FOLDERS_KNOWN_MAX:
            self._durable.clear()
        self._durable.add(folder)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _names(path: Path) -> list[str]:
    try:
        return [found.name for found in path.iterdir()]
    except FileNotFoundError:
        return []


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
