"""No class of aiokafka's errors is left without a translation, and the important ones are right."""

from collections.abc import Iterator

import pytest
from aiokafka import errors as foreign

from trunkline.errors import Misconfigured, RecordRefused, StreamUnavailable, TopicMissing
from trunkline.stream.kafka_errors import FOREIGN, creation_failure, from_code, translate


def kinds(of: type[Exception]) -> Iterator[type[Exception]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


# BrokerResponseError only carries what its kinds share; nothing raises it, and it cannot be shown.
ALL = [
    *(kind for kind in kinds(foreign.KafkaError) if kind is not foreign.BrokerResponseError),
    foreign.ConsumerStoppedError,
    foreign.IllegalOperation,
]
REFUSED = {
    foreign.MessageSizeTooLargeError,
    foreign.RecordListTooLargeError,
    foreign.RecordTooLargeError,
    foreign.InvalidTimestampError,
}
MISSING = {foreign.UnknownTopicOrPartitionError, foreign.InvalidTopicError}


@pytest.mark.parametrize("kind", ALL)
def test_every_foreign_error_becomes_exactly_one_of_ours(kind: type[Exception]) -> None:
    error = kind()
    assert isinstance(error, FOREIGN)
    expected: type[Exception] = StreamUnavailable
    if kind in REFUSED:
        expected = RecordRefused
    elif kind in MISSING:
        expected = TopicMissing
    ours = translate(error, "appending to t")
    assert type(ours) is expected
    assert str(ours).startswith("appending to t: ")
    assert kind.__name__ in str(ours)


def test_the_walk_saw_the_errors_we_name() -> None:
    assert set(ALL) >= REFUSED | MISSING
    assert len(ALL) > 80


@pytest.mark.parametrize("error", [TimeoutError(), OSError("x"), AssertionError(), KeyError("x")])
def test_errors_of_the_standard_library_mean_unavailable(error: Exception) -> None:
    assert isinstance(error, FOREIGN)
    assert type(translate(error, "doing")) is StreamUnavailable


def test_what_the_operator_set_wrong_names_the_setting() -> None:
    error = from_code(38, "Replication factor: 3 larger than available brokers: 1.")
    ours = creation_failure("t", error)
    assert isinstance(ours, Misconfigured)
    assert ours.setting == "topics.replicas"
    assert "larger than available brokers" in ours.problem


def test_an_error_code_nobody_knows_is_still_translated() -> None:
    assert type(translate(from_code(9999, None), "doing")) is StreamUnavailable
