"""Runs the suite on every kind of stream; to add one, add its name here and in storages.py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.storages import make_rig
from tests.contract.words import Names, Storage

KAFKA = pytest.param("kafka", marks=pytest.mark.e2e)
KINDS = ["memory", "sqlite", KAFKA]
# Where several members share a group, and others append too.
SHARED = ["memory", KAFKA]


@asynccontextmanager
async def _storage(kind: str, tmp_path: Path) -> AsyncIterator[Storage]:
    names = Names()
    async with make_rig(kind, tmp_path, names.specs) as rig:
        yield Storage(names, rig)


@pytest.fixture(params=KINDS)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with _storage(request.param, tmp_path) as storage:
        yield storage


@pytest.fixture(params=SHARED)
async def shared_storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with _storage(request.param, tmp_path) as storage:
        yield storage
