"""Topics that take less than our setting: what does not fit is refused here, not by the broker."""

from dataclasses import replace
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import DescribeConfigsResponse_v1

from tests.kafka.scene import alter, dump, new_topic, record, spec, stream, until
from tests.kafka_server import KafkaServer
from trunkline.errors import RecordRefused, StreamUnavailable
from trunkline.stream import kafka_supervisor
from trunkline.stream.kafka import KafkaStream
from trunkline.stream.kafka_limits import BatchLimits
from trunkline.stream.kafka_producer import KafkaProducer

OURS = 2_097_152


async def created(url: str, bytes_max: int, partitions: int = 1) -> str:
    """A topic that is there, with its limit, before the stream under test starts."""
    topic = new_topic()
    async with stream(url) as kafka:
        await kafka.create([replace(spec(topic, partitions), record_bytes_max=bytes_max)])
    return topic


def producer_of(kafka: KafkaStream) -> KafkaProducer:
    producer = kafka._supervisor.producer
    assert producer is not None
    return producer


@pytest.mark.e2e
async def test_a_record_too_large_is_refused_by_name_and_the_producer_never_hears_of_it(
    kafka_server: KafkaServer,
) -> None:
    narrow, other = await created(kafka_server.url, 50_000), await created(kafka_server.url, OURS)
    async with stream(kafka_server.url, [narrow, other]) as kafka:
        producer = producer_of(kafka)
        for turn in range(5):
            small = [record(narrow, b"%d %02d" % (turn, n) + bytes(4_000)) for n in range(40)]
            large = record(narrow, bytes(200_000))
            mixed = [*small[:7], large, *small[7:], large, record(other, bytes(200_000))]
            results = await kafka.append(mixed)
            refused = [result for result in results if result is not None]
            assert [type(result) for result in refused] == [RecordRefused] * 2
            assert results[7] is refused[0]
            assert narrow in str(refused[0])
            assert "50000 bytes" in str(refused[0])
            assert "2001" in str(refused[0]), "its own size, headers included"
        assert producer_of(kafka) is producer
        assert not producer.dead.is_set()
        values = [it.value[:4] for it in await dump(kafka, narrow) if it.value]
    assert values == [b"%d %02d" % (turn, n) for turn in range(5) for n in range(40)]


@pytest.mark.e2e
async def test_our_idea_of_a_size_is_the_brokers_to_the_byte(kafka_server: KafkaServer) -> None:
    topic = await created(kafka_server.url, 10_000)
    async with stream(kafka_server.url, [topic]) as kafka:
        producer = producer_of(kafka)
        taken: list[int] = []
        refused: list[int] = []
        for size in range(9_840, 9_940):
            (result,) = await kafka.append([record(topic, bytes(size))])
            assert result is None or isinstance(result, RecordRefused), result
            (refused if result else taken).append(size)
        assert taken
        assert refused
        assert max(taken) < min(refused)
        # One more byte than we let through is too much for the broker, too.
        await alter(kafka_server.url, topic, {"max.message.bytes": "9999"})
        (result,) = await producer.append([record(topic, bytes(max(taken)))])
        assert isinstance(result, RecordRefused)
        assert producer.dead.is_set(), "refused by the broker"


@pytest.mark.e2e
async def test_batches_are_filled_up_to_the_limit_of_their_topic(kafka_server: KafkaServer) -> None:
    topics = {await created(kafka_server.url, size, 2): size for size in (3_000, 7_001, 20_000)}
    async with stream(kafka_server.url, list(topics)) as kafka:
        producer = producer_of(kafka)
        records = [
            record(topic, b"%04d" % n + bytes(37 * n % 1_900), b"key %d" % (n % 3))
            for n in range(300)
            for topic in topics
        ]
        assert await kafka.append(records) == [None] * len(records)
        assert producer_of(kafka) is producer
        for topic in topics:
            found = await dump(kafka, topic)
            for key in {it.key for it in found}:
                values = [it.value[:4] for it in found if it.key == key and it.value]
                assert len(values) == 100
                assert values == sorted(values)


@pytest.mark.e2e
async def test_a_limit_that_fell_costs_one_producer_and_no_record_that_fits(
    kafka_server: KafkaServer,
) -> None:
    topic = await created(kafka_server.url, OURS)
    async with stream(kafka_server.url, [topic]) as kafka:
        first = producer_of(kafka)
        assert await kafka.append([record(topic, bytes(100_000))]) == [None]
        await alter(kafka_server.url, topic, {"max.message.bytes": "20000"})
        mixed = [record(topic, bytes(1_000)) for _ in range(10)]
        mixed.insert(4, record(topic, bytes(100_000)))
        for _ in range(3):
            results = await kafka.append(mixed)
            (refused,) = (result for result in results if result is not None)
            assert isinstance(results[4], RecordRefused)
        assert "20000 bytes" in str(refused), "by now it is known"
        second = producer_of(kafka)
        assert second is not first
        assert await kafka.append(mixed[:4]) == [None] * 4
        assert producer_of(kafka) is second


@pytest.mark.e2e
async def test_a_limit_that_was_raised_is_learnt_while_running(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_supervisor, "LIMITS_SECONDS", 0.0)
    topic = await created(kafka_server.url, 10_000)
    async with stream(kafka_server.url, [topic]) as kafka:
        producer = producer_of(kafka)

        async def appended() -> None:
            (result,) = await kafka.append([record(topic, bytes(50_000))])
            if result is not None:
                raise result

        with pytest.raises(RecordRefused):
            await appended()
        await alter(kafka_server.url, topic, {"max.message.bytes": "60000"})
        await until(15, appended)
        assert producer_of(kafka) is producer


class Brokers:
    """Stands for the metadata connection: gives the next answers, real ones of the protocol."""

    def __init__(self, *answers: list[Any] | Exception) -> None:
        self.answers = list(answers)

    async def send(self, request: object) -> list[Any]:
        assert request
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def told(limit: str | None, code: int = 0) -> Any:
    entries = [] if code else [("max.message.bytes", limit, False, 5, False, list[str]())]
    return DescribeConfigsResponse_v1(0, [(code, None, 2, "calls", entries)])


def learning(*answers: list[Any] | Exception) -> BatchLimits:
    return BatchLimits(Brokers(*answers), 1_000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answers",
    [
        [told(None, TopicAuthorizationFailedError.errno)],
        [told(None, UnknownTopicOrPartitionError.errno)],
        [told(None)],
        [told("5000")],
        [],
        StreamUnavailable("nobody there"),
    ],
)
async def test_our_setting_holds_where_a_topic_has_no_lower_limit_that_we_may_know(
    answers: list[Any] | Exception,
) -> None:
    limits = learning(answers)
    await limits.learn(["calls"])
    assert limits.of("calls") == 1_000


async def test_the_least_of_what_brokers_say_holds() -> None:
    limits = learning([told("700"), told("600"), told(None, 3)])
    await limits.learn(["calls"])
    assert limits.of("calls") == 600
    assert limits.of("other") == 1_000


async def test_what_was_learnt_stays_while_nobody_answers_and_goes_when_we_may_not_ask() -> None:
    limits = learning([told("600")], StreamUnavailable("away"), [], [told(None, 29)])
    await limits.learn(["calls"])
    await limits.learn(["calls"])
    await limits.learn(["calls"])
    assert limits.of("calls") == 600
    await limits.learn(["calls"])
    assert limits.of("calls") == 1_000
