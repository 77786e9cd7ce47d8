"""What a deferral says, and how it hops until it is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.stream import Delivery, Headers, Record
from trunkline.worker import deferral
from trunkline.worker.deferral import Tiers

NOW = 1_700_000_000.0
TIERS = Tiers({10: "10s", 1: "1s", 60: "1m"})
ORIGINAL = Delivery("a/b", 3, 17, 1_699_999_999_123, b"k", b"v", (("h", b"1"),))

headers = st.lists(
    st.tuples(st.sampled_from(["h", "tl-for", "tl-due", "tl-origin", "x"]), st.binary()), max_size=5
).map(tuple)
originals = st.builds(
    Delivery,
    st.sampled_from(["calls", "telnyx.other"]),
    st.integers(0, 99),
    st.integers(0, 2**53),
    st.integers(0, 2**43),
    st.none() | st.binary(),
    st.none() | st.binary(),
    headers,
)


def laid(record: Record, offset: int = 5) -> Delivery:
    return Delivery(
        record.topic, 0, offset, record.timestamp_ms, record.key, record.value, record.headers
    )


@given(originals, st.floats(0, 10_000_000), st.integers(0, 1_000))
def test_the_original_comes_back_exactly_however_often_it_hops(
    original: Delivery, seconds: float, hops: int
) -> None:
    due = NOW + seconds
    found, said = original, due
    for _ in range(3):
        record = deferral.write(found, "teams", said, hops, tiers=TIERS, now=NOW)
        assert deferral.addressee(laid(record)) == b"teams"
        found, waits = deferral.read(laid(record), TIERS.seconds(record.topic))
        assert found == original
        assert (waits.offset, waits.hops) == (5, hops)
        said = waits.due
        assert due - 2e-6 <= said <= due + 0.0011, "never sooner, and it does not drift"


@given(st.floats(0, 100_000))
def test_hops_end_when_it_is_due_and_never_pass_it(seconds: float) -> None:
    now, due, hops = NOW, NOW + seconds, 0
    while True:
        record = deferral.write(ORIGINAL, "teams", due, hops, tiers=TIERS, now=now)
        _, waits = deferral.read(laid(record), TIERS.seconds(record.topic))
        hops += 1
        left = deferral.wait(waits, now)
        if left is None:
            break
        now += left + 1e-6
        assert now <= waits.due + 0.002
        if deferral.wait(waits, now) is None:
            break
        assert deferral.wait(waits, now) == 0
    assert now >= due - 2e-6
    assert hops <= seconds / 60 + 5 + 10 + 4


@pytest.mark.parametrize(
    ("seconds", "topic"),
    [(-5, "1s"), (0, "1s"), (0.5, "1s"), (9.9, "1s"), (10, "10s"), (59, "10s"), (3_600, "1m")],
)
def test_the_longest_tier_that_is_not_too_long(seconds: float, topic: str) -> None:
    assert TIERS.choose(seconds) == topic


def test_a_deferral_of_a_deferral_is_for_whom_the_last_one_says() -> None:
    inner = laid(deferral.write(ORIGINAL, "watch", NOW + 1, 0, tiers=TIERS, now=NOW))
    outer = laid(deferral.write(inner, "teams", NOW + 2, 0, tiers=TIERS, now=NOW))
    assert deferral.addressee(outer) == b"teams"
    assert deferral.read(outer, 1)[0] == inner


FOR, DUE = ("tl-for", b"teams"), ("tl-due", b"2023-11-14T22:13:20.000Z")
ORIGIN, HOPS = ("tl-origin", b"calls/0/1/2"), ("tl-hops", b"0")


@pytest.mark.parametrize(
    "said",
    [
        (),
        (FOR,),
        (FOR, DUE, ORIGIN),
        (FOR, ORIGIN, HOPS),
        (DUE, ORIGIN, HOPS),
        (FOR, ("tl-due", b"soon"), ORIGIN, HOPS),
        (FOR, ("tl-due", b"\xff"), ORIGIN, HOPS),
        (FOR, DUE, ("tl-origin", b"calls/0"), HOPS),
        (FOR, DUE, ("tl-origin", b"calls/zero/1/2"), HOPS),
        (FOR, DUE, ORIGIN, ("tl-hops", b"")),
    ],
)
def test_what_is_no_deferral_is_said_to_be_none(said: Headers) -> None:
    with pytest.raises(ValueError, match=r".+"):
        deferral.read(Delivery("1s", 0, 0, 0, b"", b"", said), 1)


@pytest.mark.parametrize("until", [float("nan"), float("inf"), -1.0, 1e12])
def test_what_is_no_time_cannot_be_said(until: float) -> None:
    assert not deferral.sayable(until)
    assert deferral.sayable(NOW)
