"""Runs the suite on every kind of stream; to add one, add its name here and in storages.py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.storages import make_stream
from tests.contract.words import Names, Storage

KINDS = ["memory", "sqlite", pytest.param("kafka", marks=pytest.mark.e2e)]


@asynccontextmanager
async def _storage(kind: str, tmp_path: Path) -> AsyncIterator[Storage]:
    names = Names()
    async with make_stream(kind, tmp_path, names.specs) as opening:
        yield Storage(names, opening)


@pytest.fixture(params=KINDS)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with _storage(request.param, tmp_path) as storage:
        yield storage


@pytest.fixture
async def kafka_storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with _storage("kafka", tmp_path) as storage:
        yield storage
