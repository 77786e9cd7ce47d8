"""A circuit opens when much fails, lets one try at a time, and closes when that succeeds."""

from trunkline.outcome import Dead, Done, Retry, Skipped
from trunkline.worker.circuits import Circuit, CircuitPolicy, Circuits, Window

POLICY = CircuitPolicy(
    window_seconds=60,
    attempts_min=20,
    failed_share=0.5,
    probe_first_seconds=1,
    probe_most_seconds=30,
    dead_max=60,
    dead_share=0.1,
)


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit(POLICY)
    circuit.failed("first", now, fatal=True)
    assert circuit.open
    return circuit


def test_a_window_forgets() -> None:
    window = Window(60)
    for second in range(100):
        window.add(float(second), bad=second % 2 == 0)
    assert window.counts(99.0) == (60, 30)
    assert window.counts(200.0) == (0, 0)


def test_it_opens_at_half_of_twenty_and_not_before() -> None:
    circuit = Circuit(POLICY)
    for number in range(10):
        circuit.succeeded("x", number)
    for number in range(9):
        circuit.failed("x", 10 + number, fatal=False)
        assert not circuit.open
        assert circuit.ask("x", 10 + number) is None
    circuit.failed("x", 19, fatal=False)
    assert circuit.open


def test_few_failures_and_old_ones_do_not_open_it() -> None:
    circuit = Circuit(POLICY)
    for number in range(100):
        circuit.failed("x", number * 5.0, fatal=False)  # twelve a minute
    assert not circuit.open
    busy = Circuit(POLICY)
    for number in range(1_000):
        busy.failed("x", number / 100, fatal=False) if number % 3 == 0 else busy.succeeded(
            "x", number / 100
        )
    assert not busy.open, "a third fails"


def test_one_tries_at_a_time_and_waits_grow() -> None:
    circuit = opened()
    now, waits = 0.0, []
    for number in range(8):
        asked = circuit.ask(f"early {number}", now)
        assert asked is not None
        waits.append(asked - now)
        now = asked
        assert circuit.ask("probe", now) is None
        assert circuit.ask("another", now) == now + 1
        circuit.failed("another", now, fatal=True)
        circuit.succeeded("straggler", now)
        assert circuit.open, "only the probe's word counts"
        circuit.failed("probe", now, fatal=False)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    asked = circuit.ask("probe", now)
    assert asked is not None
    assert circuit.ask("probe", asked) is None
    circuit.succeeded("probe", asked)
    assert not circuit.open
    assert circuit.ask("all", asked) is circuit.ask("others", asked) is None
    circuit.failed("x", asked, fatal=True)
    assert circuit.ask("x", asked) == asked + 1, "waits begin small again"


def test_a_probe_that_says_nothing_makes_room_for_the_next() -> None:
    circuit = opened()
    assert circuit.ask("probe", 1) is None
    circuit.left("somebody")
    assert circuit.ask("next", 1) is not None
    circuit.left("probe")
    assert circuit.ask("next", 1) is None


def test_who_has_failed_asks_after_those_who_waited() -> None:
    circuit = opened()
    assert circuit.ask("poison", 1) is None
    waiting = circuit.ask("good", 1)
    circuit.failed("poison", 1.5, fatal=False)
    assert waiting is not None
    again = circuit.ask("good", waiting)
    assert max(waiting, again or 0) < circuit.behind()


def test_only_what_names_a_circuit_counts_there() -> None:
    told: list[tuple[str, bool]] = []
    circuits = Circuits(POLICY, lambda name, state: told.append((name, state)))
    for number in range(40):
        circuits.heard([Retry("not yet")], "store", "x", number)
        circuits.heard([Dead("no")], "store", "x", number)
    assert circuits.ask("store", "x", 40) is None
    circuits.heard([Done(), Retry("gone", circuit="store", fatal=True)], "store", "x", 40)
    assert told == [("store", True)]
    assert circuits.ask("store", "x", 40) == 41
    assert circuits.ask(None, "x", 40) is None
    assert circuits.ask("other", "x", 40) is None
    assert circuits.ask("store", "x", 41) is None
    circuits.heard([Skipped("did not need it")], "store", "x", 41)
    assert told == [("store", True)]
    assert circuits.ask("store", "y", 41) is None, "the probe said nothing: the next one"
    circuits.heard([Done()], "store", "y", 41)
    assert told == [("store", True), ("store", False)]
    assert not circuits.any_open


def test_more_than_sixty_dead_a_minute_and_a_tenth_of_the_flow_stop_everything() -> None:
    told: list[tuple[str, bool]] = []
    circuits = Circuits(POLICY, lambda name, state: told.append((name, state)))
    for number in range(61):
        assert told == []
        circuits.settled(number / 2, dead=True)
    assert told == [("dead_letters", True)]
    circuits.resume()
    assert told == [("dead_letters", True), ("dead_letters", False)]
    circuits.settled(31, dead=True)
    assert not circuits.any_open, "it begins to count anew"

    for number in range(10_000):
        circuits.settled(100 + number / 1_000, dead=number % 11 == 0)
    assert not circuits.any_open, "many, but less than a tenth"
    slow = Circuits(POLICY, lambda *_: None)
    for number in range(1_000):
        slow.settled(number * 1.1, dead=True)
    assert not slow.flooded, "all, but less than sixty a minute"
