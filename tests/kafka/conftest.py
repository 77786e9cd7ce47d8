"""The shared broker, by its name as a fixture."""

from tests.kafka_server import kafka_server

__all__ = ["kafka_server"]
