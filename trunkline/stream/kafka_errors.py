"""The one translation of aiokafka's errors into ours, and how a failing connection is explained."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import errors as foreign
from aiokafka.conn import create_conn

from trunkline.errors import (
    Misconfigured,
    RecordRefused,
    StreamError,
    StreamUnavailable,
    TopicMissing,
)

# What a call into aiokafka may raise: it also asserts, and lets asyncio's own errors through.
FOREIGN = (
    foreign.KafkaError,
    foreign.ConsumerStoppedError,
    foreign.IllegalOperation,
    OSError,
    TimeoutError,
    AssertionError,
    ValueError,
    LookupError,
)
REFUSALS = (
    foreign.MessageSizeTooLargeError,
    foreign.RecordListTooLargeError,
    foreign.RecordTooLargeError,
    foreign.InvalidTimestampError,
)
MISSING = (foreign.UnknownTopicOrPartitionError, foreign.InvalidTopicError)
EVICTIONS = (
    foreign.UnknownMemberIdError,
    foreign.IllegalGenerationError,
    foreign.RebalanceInProgressError,
)
# Only the operator can put these right, and each belongs to one setting.
SETTINGS: Mapping[type[Exception], str] = {
    foreign.InvalidPartitionsError: "topics.partitions",
    foreign.InvalidReplicationFactorError: "topics.replicas",
    foreign.InvalidConfigurationError: "topics",
    foreign.PolicyViolationError: "topics",
    foreign.InvalidRequestError: "topics",
    foreign.InvalidTopicError: "topics.prefix",
}


def translate(error: BaseException, doing: str) -> StreamError:
    """`doing` says what was tried, as in "appending to telnyx.calls"."""
    text = f"{doing}: {describe(error)}"
    if isinstance(error, REFUSALS):
        return RecordRefused(text)
    if isinstance(error, MISSING):
        return TopicMissing(text)
    return StreamUnavailable(text)


def describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def from_code(code: int, message: str | None) -> Exception:
    """The foreign error behind a broker's error code."""
    kind: type[Exception] = foreign.for_code(code)
    return kind(message) if message else kind()


def is_existing_topic(error: Exception) -> bool:
    return isinstance(error, foreign.TopicAlreadyExistsError)


def is_eviction(error: BaseException) -> bool:
    """The group goes on without us, or is dealing its partitions out anew."""
    return isinstance(error, EVICTIONS)


def creation_failure(topic: str, error: Exception) -> StreamError | Misconfigured:
    setting = SETTINGS.get(type(error))
    if setting is not None:
        return Misconfigured(setting, f"{topic} cannot be created: {describe(error)}")
    return translate(error, f"creating {topic}")


async def explain(options: Mapping[str, Any], seconds: float) -> str:
    """Why no broker can be reached. aiokafka only logs it, so each one is asked again."""
    servers: list[str] = options["bootstrap_servers"]
    reasons = await asyncio.gather(*(_knock(server, options, seconds) for server in servers))
    return "; ".join(reasons)


async def _knock(server: str, options: Mapping[str, Any], seconds: float) -> str:
    host, _, port = server.rpartition(":")
    rest = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    try:
        async with asyncio.timeout(seconds):
            connection = await create_conn(
                host.strip("[]"), int(port), request_timeout_ms=int(seconds * 1000), **rest
            )
    except FOREIGN as error:
        return f"{server}: {describe(error)}"
    closed = connection.close()
    if closed is not None:
        await asyncio.wait({closed}, timeout=seconds)
    return f"{server}: answers now"
