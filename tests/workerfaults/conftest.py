"""One broker for all tests that do it no harm for good, and sites on it with names of their own."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kafka_server import KafkaServer
from tests.workerfaults.site import Site

# Small and quick to notice, for one machine.
BROKER = {
    "offsets.topic.replication.factor": "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
}

_prefixes = (f"w{number}." for number in itertools.count())


def next_prefix() -> str:
    return next(_prefixes)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("kafka"), properties=BROKER) as server:
        yield server


@pytest.fixture
async def shared(tmp_path: Path, broker: KafkaServer) -> AsyncIterator[Site]:
    """On Kafka."""
    site = Site(tmp_path, broker.url, prefix=next_prefix())
    async with site.opened():
        yield site


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Site]:
    """On the embedded stream."""
    site = Site(tmp_path, f"sqlite:///{tmp_path}/stream.db")
    async with site.opened():
        yield site
