"""The judge itself is judged: every lie it is there to find is told to it once."""

from collections.abc import Callable

import pytest

from tests.load.checker import check, check_metrics
from tests.load.sender import REFUSED, RESET, Sent
from tests.load.webhooks import Mix, Nature, Pool, Shot
from trunkline import envelope, topics
from trunkline.envelope import Label, Proof
from trunkline.keys import DevelopmentKey
from trunkline.stream import Delivery

KEY, STRANGER = DevelopmentKey(), DevelopmentKey()
KEYS = {KEY.public.text: KEY.public}
NOW = 1_700_000_000


def kept(
    shot: Shot, offset: int, *, body: bytes | None = None, topic: str = topics.CALLS
) -> Delivery:
    exact = shot.wire.partition(b"\r\n\r\n")[2]
    proof = Proof(KEY.sign(str(NOW), exact).encode(), str(NOW).encode(), KEY.public)
    label = Label(shot.id, shot.kind, "key", None)
    headers = envelope.write(label, proof, "default", b"application/json", "", ())
    return Delivery(topic, 0, offset, NOW * 1000, b"key", exact if body is None else body, headers)


def shots(count: int, mix: Mix | None = None, seed: int = 1) -> list[Shot]:
    return Pool(KEY, NOW, mix or Mix(kinds=("call.initiated",)), seed).take(count)


def sent(shot: Shot, at: float, status: int = 200, error: str | None = None) -> Sent:
    return Sent(shot, at, at, at + 0.5, status, error)


def run() -> tuple[list[Sent], list[Delivery]]:
    """A faultless run of five, one after the other."""
    made = shots(5)
    return (
        [sent(shot, number) for number, shot in enumerate(made, 1)],
        [kept(shot, number) for number, shot in enumerate(made)],
    )


def test_a_faultless_run_is_found_faultless() -> None:
    log, dump = run()
    summary = check(log, dump, KEYS)
    assert summary.violations == []
    assert (summary.sent, summary.ok, summary.records, summary.lost) == (5, 5, 5, 0)


def lose(_: list[Sent], dump: list[Delivery]) -> None:
    dump.pop()


def alter(_: list[Sent], dump: list[Delivery]) -> None:
    dump[2].value = (dump[2].value or b"") + b" "


def swap(_: list[Sent], dump: list[Delivery]) -> None:
    dump[1].offset, dump[2].offset = 2, 1


def scatter(_: list[Sent], dump: list[Delivery]) -> None:
    dump[4].partition = 1


def repeat(log: list[Sent], dump: list[Delivery]) -> None:
    dump.append(kept(log[0].shot, 5))


def misplace(_: list[Sent], dump: list[Delivery]) -> None:
    dump[0].topic = topics.QUARANTINE


def rename(_: list[Sent], dump: list[Delivery]) -> None:
    dump[0].headers = tuple(
        (name, b"another" if name == "ce_id" else value) for name, value in dump[0].headers
    )


def resign(_: list[Sent], dump: list[Delivery]) -> None:
    body = dump[0].value or b""
    false = STRANGER.sign(str(NOW), body).encode()
    dump[0].headers = tuple(
        (name, false if name == envelope.SIGNATURE else value) for name, value in dump[0].headers
    )


def admit_a_forgery(log: list[Sent], dump: list[Delivery]) -> None:
    (forged,) = shots(1, Mix(kinds=("call.initiated",), forged=1.0), seed=2)
    assert forged.nature is Nature.FORGED
    log.append(sent(forged, 9, 401))
    dump.append(kept(forged, 5))


def greet_a_forgery(log: list[Sent], _: list[Delivery]) -> None:
    (forged,) = shots(1, Mix(kinds=("call.initiated",), forged=1.0), seed=2)
    log.append(sent(forged, 9, 200))


def refuse_the_honest(log: list[Sent], dump: list[Delivery]) -> None:
    log[0].status = 401
    del dump[0]


def answer_oddly(log: list[Sent], _: list[Delivery]) -> None:
    log[0].status = 500


LIES: dict[Callable[[list[Sent], list[Delivery]], None], str] = {
    lose: "not in the stream",
    alter: "not in the stream",
    swap: "out of order",
    scatter: "more than one partition",
    repeat: "more often than sent",
    misplace: "wrong place",
    rename: "another id",
    resign: "cannot be proven",
    admit_a_forgery: "nobody honest sent",
    greet_a_forgery: "wrong answers",
    refuse_the_honest: "wrong answers",
    answer_oddly: "wrong answers",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_every_lie_is_found(lie: Callable[[list[Sent], list[Delivery]], None]) -> None:
    log, dump = run()
    lie(log, dump)
    violations = check(log, dump, KEYS).violations
    assert any(LIES[lie] in violation for violation in violations), violations


def test_what_was_never_answered_may_be_kept_or_not_and_even_twice() -> None:
    log, dump = run()
    log[0].status, log[0].error = 0, RESET
    log[1].status, log[1].error = 0, RESET
    log[2].status = 503
    dump.append(kept(log[1].shot, 5))
    dump.append(kept(log[2].shot, 6))
    del dump[0]
    assert check(log, dump, KEYS).violations == []


def test_sends_that_overlapped_may_lie_in_any_order() -> None:
    log, dump = run()
    log[2].began = log[1].ended - 0.1
    swap(log, dump)
    assert check(log, dump, KEYS).violations == []


def metrics(**counts: float) -> dict[str, float]:
    verdicts = dict.fromkeys(("accepted", "quarantined", "refused", "unavailable", "gone"), 0.0)
    verdicts |= counts
    found = {f'trunkline_ingest_requests_total{{verdict="{k}"}}': v for k, v in verdicts.items()}
    return {**found, 'trunkline_ingest_refused_total{reason="a"}': verdicts["refused"]}


def test_metrics_must_add_up_with_what_senders_saw() -> None:
    log, _ = run()
    assert check_metrics(log, metrics(accepted=5)) == []
    assert check_metrics(log, metrics(accepted=4, quarantined=1)) == []
    assert check_metrics(log, metrics(accepted=4))
    assert check_metrics(log, metrics(accepted=6))
    assert check_metrics(log, metrics(accepted=5, gone=1))
    assert check_metrics(log, metrics(accepted=4, refused=1))
    unbalanced = metrics(accepted=5) | {'trunkline_ingest_refused_total{reason="b"}': 1.0}
    assert check_metrics(log, unbalanced)


def test_what_never_reached_the_door_need_not_be_counted() -> None:
    log, _ = run()
    log[0].status, log[0].error = 0, RESET
    log[1].status, log[1].error = 0, REFUSED
    assert check_metrics(log, metrics(accepted=3)) == []
    assert check_metrics(log, metrics(accepted=3, gone=1)) == []
    assert check_metrics(log, metrics(accepted=4)) == []
    assert check_metrics(log, metrics(accepted=5))
