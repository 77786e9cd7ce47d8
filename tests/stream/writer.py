"""Appends for ever to the stream at argv[1], telling which ids were acked; to be killed."""

import asyncio
import os
import sys
from pathlib import Path

from tests.stream.words import record, sqlite_stream
from trunkline.errors import StreamUnavailable
from trunkline.stream.sqlite import SqliteStream


def say(kind: str, text: str) -> None:
    # One write: a kill cuts off a line but never mixes two.
    os.write(1, f"{kind} {text}\n".encode())


async def write(path: Path, name: str, batch: int) -> None:
    number = 0
    failed = False
    async with sqlite_stream(path) as stream:
        while True:
            ids = [f"{name}-{number + n}" for n in range(batch)]
            number += batch
            results = await stream.append([record(id_) for id_ in ids])
            acked = [id_ for id_, result in zip(ids, results, strict=True) if result is None]
            if acked:
                say("acked", ",".join(acked))
            else:
                say("refused", type(results[0]).__name__)
                await asyncio.sleep(0.01)
            if failed or not acked:
                failed = await ill(stream)


async def ill(stream: SqliteStream) -> bool:
    try:
        await stream.check()
    except StreamUnavailable as failure:
        say("check", type(failure).__name__)
        return True
    say("check", "well")
    return False


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
