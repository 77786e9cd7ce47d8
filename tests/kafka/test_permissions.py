"""A login that may append and little else: what it may not ask must not stop it."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from tests.kafka.scene import dump, new_topic, record, spec, stream, until
from tests.kafka_server import HOST, KafkaServer, free_ports
from trunkline.errors import RecordRefused, StreamUnavailable
from trunkline.stream.kafka import KafkaStream

pytestmark = pytest.mark.e2e
TOPIC, LITERAL, ALLOW = 2, 3, 3  # as Kafka's protocol numbers them
WRITE, DESCRIBE = 4, 8
PASSWORD = "s3cret"  # noqa: S105  # of a broker that lives for a test


class Guarded:
    """One listener for its owner, who may everything; one for alice, who may what is granted."""

    def __init__(self, directory: Path) -> None:
        plain, controller, self.port = free_ports(3)
        listeners = f"PLAINTEXT://{HOST}:{plain},SASL_PLAINTEXT://{HOST}:{self.port}"
        self.server = KafkaServer(
            directory,
            ports=(plain, controller),
            user=f"alice:{PASSWORD}",
            properties={
                "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
                "advertised.listeners": listeners,
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
                "authorizer.class.name": (
                    "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
                ),
                "super.users": "User:ANONYMOUS",
            },
        )

    def of_alice(self, *topics: str) -> KafkaStream:
        options = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "alice",
            "sasl_plain_password": PASSWORD,
        }
        query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
        return stream(f"kafka://{HOST}:{self.port}?{query}", topics)

    async def grant(self, topic: str, operation: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.server.bootstrap)
        await admin.start()
        try:
            request = CreateAclsRequest(TOPIC, topic, LITERAL, "User:alice", "*", operation, ALLOW)
            response = await admin._send_request(request)
            assert [code for code, _ in response.creation_responses] == [0]
        finally:
            await admin.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path / "kafka")
    with made.server:
        yield made


async def test_without_leave_to_read_configurations_our_setting_holds_and_the_broker_decides(
    guarded: Guarded,
) -> None:
    topic = new_topic()
    async with stream(guarded.server.url) as owner:
        await until(10, lambda: owner.create([spec(topic, partitions=1)]))
        for operation in (DESCRIBE, WRITE):
            await guarded.grant(topic, operation)
        async with guarded.of_alice(topic) as kafka:
            await until(10, kafka.check)
            with pytest.raises(StreamUnavailable, match="TopicAuthorizationFailed"):
                await kafka.inspect([spec(topic)])
            size = 2_097_152
            records = [record(topic, bytes(1_500_000)), record(topic, bytes(size))]
            results = await kafka.append([*records, record(topic, b"small")])
            assert [type(result) for result in results] == [type(None), RecordRefused, type(None)]
            assert f"{topic} takes {size} bytes at most" in str(results[1])
        assert [len(it.value or b"") for it in await dump(owner, topic)] == [1_500_000, 5]


async def test_without_leave_to_append_all_is_unavailable_and_the_reason_is_said(
    guarded: Guarded,
) -> None:
    topic = new_topic()
    async with stream(guarded.server.url) as owner:
        await until(10, lambda: owner.create([spec(topic, partitions=1)]))
    await guarded.grant(topic, DESCRIBE)
    async with guarded.of_alice(topic) as kafka:
        (result,) = await kafka.append([record(topic, b"1")])
        assert type(result) is StreamUnavailable
        assert "AuthorizationFailed" in str(result)
        await guarded.grant(topic, WRITE)

        async def appended() -> None:
            (result,) = await kafka.append([record(topic, b"2")])
            if result is not None:
                raise result

        await until(15, appended)
