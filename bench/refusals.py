"""What it costs to say no: a flood of forgeries is paid for by us."""

import time
from collections.abc import Callable, Iterable
from itertools import cycle

from bench.ground import Ground, Plan
from bench.table import Row
from bench.traffic import MIXED, messages
from tests.load.webhooks import request
from trunkline.keys import DevelopmentKey

CASE = "A refusal, against an accepted webhook"
_SAMPLES = 500
_STALE_SECONDS = 1_000

Make = Callable[[bytes], bytes]


def cost(ground: Ground) -> Iterable[Row]:
    bodies = [body for _, _, body in messages(list(ground.supply.of(MIXED, _SAMPLES)))]
    stranger = DevelopmentKey()
    now = str(int(time.time()))
    old = str(int(time.time()) - _STALE_SECONDS)
    refused: dict[str, Make] = {
        "signature missing": lambda body: _unsigned(body, now),
        "timestamp stale": lambda body: request(body, old, ground.key.sign(old, body)),
        "signature forged": lambda body: request(body, now, stranger.sign(now, body)),
    }
    plan = Plan(ground.seconds / 2)
    with ground.on_kafka() as door:
        accepted = ground.measure(door, plan)
    yield Row(
        CASE, "accepted (200)", accepted.cpu_us, "us CPU", f"{accepted.verifies:.2f} verifies"
    )
    for name, make in refused.items():
        wires = [make(body) for body in bodies]
        with ground.on_kafka() as door:
            found = ground.measure_with(door, plan, cycle(wires))
        beside = f"{found.verifies:.2f} verifies, {found.cpu_us / accepted.cpu_us:.2f} of an accept"
        beside += f", {found.run.per_second(401):,.0f}/s"
        odd = found.others(401)
        yield Row(CASE, name, found.cpu_us, "us CPU", f"{beside}; {odd}" if odd else beside)


def _unsigned(body: bytes, timestamp: str) -> bytes:
    head, _, rest = request(body, timestamp, "").partition(b"telnyx-signature-ed25519: \r\n")
    return head + rest
