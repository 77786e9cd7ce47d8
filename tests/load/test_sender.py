"""The sender against servers that misbehave in known ways: its log must tell what happened."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.load.sender import REFUSED, RESET, TIMEOUT, Sender, quantiles
from tests.load.webhooks import Mix, Nature, Pool
from trunkline.keys import DevelopmentKey

KEY = DevelopmentKey(b"k" * 32)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
Answer = Callable[[int, asyncio.StreamWriter], None]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """Calls `answer` with the number of each request it has read."""
    count = 0
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                await reader.readexactly(length)
                count += 1
                answer(count, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


def pool(mix: Mix | None = None) -> Pool:
    return Pool(KEY, 1_700_000_000, mix, seed=3)


async def test_each_webhook_is_sent_once_and_its_answer_logged() -> None:
    def answer(number: int, writer: asyncio.StreamWriter) -> None:
        body = b'{"x":1}' if number % 2 else b""
        status = b"401 Unauthorized" if number % 2 else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    async with server(answer) as port:
        sender = Sender("127.0.0.1", port, connections=4)
        shots = pool().take(200)
        log = await sender.run(shots, 5_000)
        await sender.close()
    assert [sent.shot for sent in log] == shots
    assert sorted(sent.status for sent in log) == [200] * 100 + [401] * 100
    assert all(sent.scheduled <= sent.began <= sent.ended for sent in log)


async def test_resets_refusals_and_silence_are_told_apart() -> None:
    def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.transport.abort()
        elif number == 2:
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            writer.close()
        elif number > 3:
            writer.write(OK)

    async with server(answer) as port:
        sender = Sender("127.0.0.1", port, connections=1, timeout_seconds=0.3)
        log = await sender.run(pool().take(4), 20)
        await sender.close()
    assert [(sent.status, sent.error) for sent in log[:3]] == [
        (0, RESET),
        (200, None),
        (0, TIMEOUT),
    ]
    sender = Sender("127.0.0.1", port, connections=1)
    (refused,) = await sender.run(pool().take(1), 20)
    await sender.close()
    assert (refused.status, refused.error) == (0, REFUSED)


async def test_a_stall_is_paid_by_everything_it_delays() -> None:
    """No coordinated omission: what waited for a connection counts from when it was due."""

    def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            asyncio.get_running_loop().call_later(0.3, writer.write, OK)
        else:
            writer.write(OK)

    async with server(answer) as port:
        sender = Sender("127.0.0.1", port, connections=1)
        log = await sender.run(pool().take(20), 200)
        await sender.close()
    late = [sent for sent in log if sent.began - sent.scheduled > 0.1]
    assert len(late) > 10
    assert quantiles(log, 0.5)[0] > 0.1


def test_a_pool_makes_what_it_was_asked_for_and_the_same_again() -> None:
    mix = Mix(forged=0.2, unreadable=0.1, duplicates=0.1, body_bytes=5_000, sessions=3)
    made = pool(mix).take(1_000)
    assert [shot.wire for shot in made] == [shot.wire for shot in pool(mix).take(1_000)]
    honest = [shot for shot in made if shot.nature is Nature.HONEST]
    assert 500 < len(honest) < 850
    assert {shot.body_bytes for shot in honest} == {5_000}
    assert 50 < 1_000 - len({shot.wire for shot in made}) < 200
    natures = [shot.nature for shot in made]
    assert natures.count(Nature.FORGED) > 100
    assert natures.count(Nature.UNREADABLE) > 50
    assert len({shot.id for shot in honest}) == len({shot.digest for shot in honest})
