"""Faults that any stream must survive alike."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence

from tests.faults.ground import Ground, answered, traffic, until
from tests.load.sender import Sent
from tests.load.webhooks import Mix


async def killed_under_load(ground: Ground, rounds: int, rate: float, name: str) -> None:
    """Kill -9, again and again: every id answered 200 is in the stream, its bytes equal."""
    door = ground.door()
    source = random.Random(7)  # noqa: S311  # when to kill
    shots = ground.endless()
    with door:
        async with traffic(door, shots, rate) as sender:
            for _ in range(rounds):
                await answered(sender, 200, int(rate / 4))
                await asyncio.sleep(source.random() / 4)
                door.kill()
                await asyncio.to_thread(door.start)
            await answered(sender, 200, 100)
        summary = await ground.judge(f"{name}: kill -9 x{rounds}", sender.log, door)
    assert summary.ok > rounds * rate / 4
    assert summary.unanswered > 0, "no kill hit anything"


async def terminated_under_load(
    ground: Ground, rate: float, name: str, *, workers: int = 1
) -> None:
    """SIGTERM: who stops sending once readiness is off sees no refused connection and no 5xx."""
    door = ground.door(arguments=("-m", "trunkline", "ingest", "--workers", str(workers)))
    shots = ground.endless()
    with door:
        async with traffic(door, shots, rate) as sender:
            await answered(sender, 200, int(rate))
            door.terminate()
            await until(lambda: not door.ready(), "readiness off")
            await answered(sender, 200, int(rate / 4))  # as long as a load balancer needs
            metrics = door.metrics()
            sender.stop()
        code = await asyncio.to_thread(door.wait)
        summary = await ground.judge(f"{name}: SIGTERM, {workers} worker(s)", sender.log, door)
    assert code == 0, door.log[-3000:]
    assert summary.unanswered == summary.unavailable == 0, _fates(sender.log)
    assert metrics["trunkline_ready"] == 0


def _fates(log: Sequence[Sent]) -> Counter[tuple[int, str | None]]:
    return Counter((sent.status, sent.error) for sent in log)


async def burst(ground: Ground, name: str) -> None:
    """A hundred times the usual: slower answers and 503 are allowed, a lie or a crash is not."""
    usual, flood = 50, 5_000
    door = ground.door()
    calm, wave, after = ground.shots(usual), ground.shots(2 * flood), ground.shots(usual)
    with door:
        async with traffic(door, calm, usual, connections=512) as sender:
            await until(lambda: len(sender.log) == len(calm), "calm first")
            await sender.run(wave, flood)
            await sender.run(after, usual)
        metrics = door.metrics()
        summary = await ground.judge(f"{name}: 100x burst", sender.log, door, metrics)
        assert metrics["trunkline_ingest_held_bytes"] == 0
    assert summary.unanswered == 0
    assert all(sent.status in {200, 401} for sent in sender.log[-usual:]), "it is over"


async def worker_killed(ground: Ground, name: str) -> None:
    """One of two workers dies: the other serves, a new one comes, nothing answered is lost."""
    door = ground.door(arguments=("-m", "trunkline", "ingest", "--workers", "2"))
    shots = ground.endless(Mix())
    with door:
        async with traffic(door, shots, 400) as sender:
            await answered(sender, 200, 200)
            before = door.children()
            assert len(before) == 2
            os.kill(before[0], signal.SIGSTOP)  # so that some requests are surely in its hands
            await asyncio.sleep(0.1)
            os.kill(before[0], signal.SIGKILL)
            await answered(sender, 200, 200)
            await until(lambda: len(door.children()) == 2 and door.ready(), "a new worker")
            assert before[1] in door.children()
            await answered(sender, 200, 200)
        metrics = door.metrics()
        summary = await ground.judge(f"{name}: one of two workers killed", sender.log, door)
    total = sum(n for key, n in metrics.items() if key.startswith("trunkline_ingest_requests_to"))
    assert total <= summary.sent
    assert summary.ok > 500
    assert summary.unanswered > 0, "the kill hit nothing"
