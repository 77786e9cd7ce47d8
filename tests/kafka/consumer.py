"""Consumes the topic at argv[2] on the broker at argv[1], printing what it does; to be killed."""

import asyncio
import os
import sys

from tests.kafka.scene import joined, stream
from trunkline.stream import Mark


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def consume(url: str, topic: str) -> None:
    async with stream(url) as kafka:
        member = await joined(kafka, topic)
        told = 0
        while True:
            found = await member.fetch(10, 0.2)
            if len(member.told) > told:
                told = len(member.told)
                say(f"assigned {len(member.marks)}")
            for it in found:
                say(f"seen {it.partition} {it.offset}")
            marks = {place: Mark(offset, "here") for place, offset in member.handled.items()}
            if found:
                await member.commit(marks)
                say("committed")


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], sys.argv[2]))
