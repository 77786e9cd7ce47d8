"""The sum of several workers' metrics, parsed as Prometheus would."""

from prometheus_client.parser import text_string_to_metric_families

from trunkline.expositions import Sum
from trunkline.metrics import Metrics


def samples(total: Sum) -> dict[str, float]:
    """Name, and the value of its only label in braces."""
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(total.render())
        for sample in family.samples
    }


def exposition(accepted: int = 0, seconds: float = 0.002, **levels: float) -> str:
    metrics = Metrics()
    metrics.ingest_requests.of["accepted"] = accepted
    for _ in range(accepted):
        metrics.ingest_seconds.observe(seconds)
    metrics.ready.value = 1
    for name, value in levels.items():
        getattr(metrics, name).value = value
    return metrics.exposition().decode()


ACCEPTED = "trunkline_ingest_requests_total{accepted}"


def test_counters_and_histograms_of_living_workers_add_up() -> None:
    total = Sum()
    total.note(0, 100, exposition(3, 0.0004))
    total.note(1, 101, exposition(4, 0.02))
    found = samples(total)
    assert found[ACCEPTED] == 7
    assert found["trunkline_ingest_requests_total{gone}"] == 0
    assert found["trunkline_ingest_seconds_bucket{0.0005}"] == 3
    assert found["trunkline_ingest_seconds_bucket{+Inf}"] == 7
    assert found["trunkline_ingest_seconds_count"] == 7
    assert abs(found["trunkline_ingest_seconds_sum"] - (3 * 0.0004 + 4 * 0.02)) < 1e-9


def test_a_newer_look_at_a_worker_replaces_the_older() -> None:
    total = Sum()
    total.note(0, 100, exposition(3, ingest_connections=9))
    total.note(0, 100, exposition(5, ingest_connections=2))
    found = samples(total)
    assert found[ACCEPTED] == 5
    assert found["trunkline_ingest_connections"] == 2


def test_what_a_dead_worker_counted_stays_and_what_it_held_goes() -> None:
    total = Sum()
    total.note(0, 100, exposition(3, ingest_connections=9, ingest_held_bytes=1_000))
    total.note(1, 101, exposition(4))
    before = samples(total)
    for pid in (102, 103):
        total.note(0, pid, exposition(2, ingest_connections=1))
    found = samples(total)
    assert before[ACCEPTED] == 7
    assert found[ACCEPTED] == 3 + 2 + 2 + 4
    assert found["trunkline_ingest_seconds_count"] == 11
    assert found["trunkline_ingest_seconds_bucket{0.002}"] == 11
    assert found["trunkline_ingest_connections"] == 1
    assert found["trunkline_ingest_held_bytes"] == 0


def test_a_total_never_goes_down_through_any_number_of_deaths() -> None:
    total, last = Sum(), 0.0
    for step in range(30):
        pid = 100 + step // 3  # it dies after each third look
        total.note(0, pid, exposition(step % 3))
        total.note(1, 99, exposition(step))
        now = samples(total)[ACCEPTED]
        assert now >= last
        last = now
    assert last == 10 * 2 + 29


def test_readiness_is_the_least_and_trouble_is_the_worst() -> None:
    total = Sum()
    total.note(0, 100, exposition(loop_lag=0.5, key_files_bad=0, clock_suspect=1))
    total.note(1, 101, exposition(loop_lag=0.1, key_files_bad=2, clock_suspect=0, ready=0))
    found = samples(total)
    assert found["trunkline_ready"] == 0
    assert found["trunkline_loop_lag_seconds"] == 0.5
    assert found["trunkline_key_files_bad"] == 2
    assert found["trunkline_clock_suspect"] == 1


def test_levels_that_are_amounts_add_up() -> None:
    total = Sum()
    total.note(0, 100, exposition(ingest_connections=5, ingest_held_bytes=10, log_dropped=1))
    total.note(1, 101, exposition(ingest_connections=6, ingest_held_bytes=20, log_dropped=2))
    found = samples(total)
    assert found["trunkline_ingest_connections"] == 11
    assert found["trunkline_ingest_held_bytes"] == 30
    assert found["trunkline_log_dropped"] == 3
    assert found["process_resident_memory_bytes"] > 2_000_000


def test_a_series_that_only_one_worker_has_is_there() -> None:
    one, other = Metrics(), Metrics()
    one.key_used.of["AAAA"] = 1
    other.key_used.of["BBBB"] = 2
    total = Sum()
    total.note(0, 100, one.exposition().decode())
    total.note(1, 101, other.exposition().decode())
    found = samples(total)
    assert found["trunkline_key_used_total{AAAA}"] == 1
    assert found["trunkline_key_used_total{BBBB}"] == 2


def test_types_and_meanings_are_kept_and_said_once() -> None:
    total = Sum()
    for worker in range(3):
        total.note(worker, worker, exposition())
    text = total.render()
    assert text.count("# TYPE trunkline_ingest_seconds histogram") == 1
    assert text.count("# HELP trunkline_ready ") == 1
    (family,) = (
        it for it in text_string_to_metric_families(text) if it.name == "trunkline_ingest_seconds"
    )
    assert family.type == "histogram"
    assert family.documentation == "From a request's last byte to its answer."


def test_nobody_has_said_anything_yet() -> None:
    assert samples(Sum()) == {}


def test_half_a_line_of_a_dying_worker_harms_nothing() -> None:
    total = Sum()
    text = exposition(3)
    cut = text.index(ACCEPTED.partition("{")[0] + "{") + 20
    total.note(0, 100, text[:cut])
    total.note(1, 101, text)
    assert samples(total)[ACCEPTED] == 3
