"""Appends what no decent producer would; needs aiokafka without its compiled parts.

Usage: AIOKAFKA_NO_EXTENSIONS=1 python -m tests.workerfaults.foreign BOOTSTRAP TOPIC PARTITION
"""

import asyncio
import sys

from aiokafka import AIOKafkaProducer


class Raw(str):
    """A name of a header whose bytes are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfename"


async def append(bootstrap: str, topic: str, partition: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(
            topic, b"{}", key=b"raw", partition=partition, headers=[(Raw("x"), b"v")]
        )


if __name__ == "__main__":
    asyncio.run(append(sys.argv[1], sys.argv[2], int(sys.argv[3])))
