"""Metrics as Prometheus reads them."""

import math

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from trunkline.instruments import Spread
from trunkline.metrics import VERDICTS, Metrics


def families(metrics: Metrics) -> dict[str, Metric]:
    text = metrics.exposition().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(metrics: Metrics) -> dict[tuple[str, str], float]:
    """By sample name and its only label's value."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in families(metrics).values()
        for sample in family.samples
    }


def test_what_was_counted_is_exposed_under_its_name() -> None:
    metrics = Metrics()
    metrics.ingest_requests.of["accepted"] += 3
    metrics.ingest_refused.of["stale"] = 2
    metrics.ingest_duplicates.value += 1
    metrics.ingest_connections.value = 7
    metrics.loop_lag.value = 0.25
    found = values(metrics)
    assert found["trunkline_ingest_requests_total", "accepted"] == 3
    assert found["trunkline_ingest_requests_total", "gone"] == 0
    assert found["trunkline_ingest_refused_total", "stale"] == 2
    assert found["trunkline_ingest_duplicates_total", ""] == 1
    assert found["trunkline_ingest_connections", ""] == 7
    assert found["trunkline_loop_lag_seconds", ""] == 0.25


def test_every_family_of_ours_has_a_type_and_says_what_it_means() -> None:
    ours = {it.name: it for it in families(Metrics()).values() if it.name.startswith("trunkline_")}
    assert len(ours) >= 14
    assert all(it.documentation.endswith(".") for it in ours.values())
    assert ours["trunkline_ingest_requests"].type == "counter"
    assert ours["trunkline_ready"].type == "gauge"
    assert ours["trunkline_ingest_seconds"].type == "histogram"
    assert {it.type for it in ours.values()} == {"counter", "gauge", "histogram"}


def test_a_rate_has_a_beginning_because_every_verdict_is_there_from_the_start() -> None:
    assert {
        label for name, label in values(Metrics()) if name == "trunkline_ingest_requests_total"
    } == set(VERDICTS)


def test_the_process_tells_of_itself() -> None:
    found = values(Metrics())
    assert found["process_resident_memory_bytes", ""] > 1_000_000
    assert found["process_open_fds", ""] > 0


def test_a_label_may_be_anything() -> None:
    metrics = Metrics()
    evil = 'a"b\\c\nd{e} 1'
    metrics.key_used.of[evil] = 4
    assert values(metrics)["trunkline_key_used_total", evil] == 4


def test_buckets_are_cumulative_and_end_with_everything() -> None:
    metrics = Metrics()
    observed = (0.0, 0.0005, 0.0006, 0.02, 0.02, 1.0, 99.0)
    for seconds in observed:
        metrics.ingest_seconds.observe(seconds)
    found = values(metrics)
    name = "trunkline_ingest_seconds_bucket"
    buckets = {float(bound): value for (one, bound), value in found.items() if one == name}
    for bound, value in buckets.items():
        assert value == sum(seconds <= bound for seconds in observed), bound
    assert list(buckets) == sorted(buckets)
    assert buckets[math.inf] == found["trunkline_ingest_seconds_count", ""] == 7
    assert found["trunkline_ingest_seconds_sum", ""] == pytest.approx(sum(observed))


def test_bounds_below_zero_count_too_and_have_no_sum() -> None:
    metrics = Metrics()
    for seconds in (-1_000.0, -60.0, -0.5, 0.0, 400.0):
        metrics.signature_skew_seconds.observe(seconds)
    found = values(metrics)
    name = "trunkline_signature_skew_seconds"
    assert found[f"{name}_bucket", "-300.0"] == 1
    assert found[f"{name}_bucket", "-60.0"] == 2
    assert found[f"{name}_bucket", "-1.0"] == 2
    assert found[f"{name}_bucket", "0.0"] == 4
    assert found[f"{name}_bucket", "300.0"] == 4
    assert found[f"{name}_bucket", "+Inf"] == 5
    assert (f"{name}_sum", "") not in found


def test_an_empty_histogram_is_all_zeroes() -> None:
    spread = Spread("x", "X.", (1, 2))
    assert [sample.value for sample in spread.family().samples] == [0, 0, 0, 0, 0]


def test_two_processes_do_not_share_a_registry() -> None:
    one, other = Metrics(), Metrics()
    one.ingest_duplicates.value = 5
    assert values(other)["trunkline_ingest_duplicates_total", ""] == 0
