"""Where each kind of event goes, and what each topic should look like."""

import re
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from trunkline import topics
from trunkline.errors import Misconfigured
from trunkline.events.samples import kinds
from trunkline.settings import TopicsSection

# In full and by hand: a rule that sends a kind elsewhere must show here.
TABLE = {
    "telnyx.calls": """
        call.ai_gather.ended
        call.ai_gather.message_history_updated
        call.ai_gather.partial_results
        call.analyzed
        call.answered
        call.bridged
        call.conversation.created
        call.conversation.ended
        call.conversation.start_failed
        call.conversation_insights.generated
        call.cost
        call.deepfake_detection.error
        call.deepfake_detection.result
        call.dequeued
        call.dtmf.received
        call.enqueued
        call.fork.started
        call.fork.stopped
        call.gather.ended
        call.hangup
        call.hold
        call.initiated
        call.machine.detection.ended
        call.machine.greeting.ended
        call.machine.premium.call_screening.detected
        call.machine.premium.detection.ended
        call.machine.premium.detection.started
        call.machine.premium.greeting.ended
        call.payment.completed
        call.payment.progress
        call.playback.ended
        call.playback.started
        call.refer.completed
        call.refer.failed
        call.refer.started
        call.sip_info.received
        call.speak.ended
        call.speak.started
        call.transcription
        call.unhold
        conference.created
        conference.ended
        conference.floor.changed
        conference.participant.joined
        conference.participant.left
        conference.participant.playback.ended
        conference.participant.playback.started
        conference.participant.speak.ended
        conference.participant.speak.started
        conference.playback.ended
        conference.playback.started
        conference.speak.ended
        conference.speak.started
        siprec.failed
        siprec.started
        siprec.stopped
        streaming.failed
        streaming.started
        streaming.stopped
    """,
    "telnyx.recordings": """
        call.recording.error
        call.recording.saved
        call.recording.transcription.saved
        conference.recording.saved
        video.room.composition.completed
        video.room.recording.completed
        video.room.recording.started
    """,
    "telnyx.other": """
        number_order.complete
        number_reputation.external_verification.status_changed
        number_reputation.number.flagged
        number_reputation.number.removed
    """,
    "telnyx.video": """
        video.room.participant.joined
        video.room.participant.left
        video.room.session.ended
        video.room.session.started
    """,
}


def section(**values: object) -> TopicsSection:
    return TopicsSection.model_validate(values)


def test_every_known_kind_goes_where_the_table_says() -> None:
    expected = {kind: topic for topic, names in TABLE.items() for kind in names.split()}
    assert len(expected) == 74
    assert {kind: topics.route(kind) for kind in kinds()} == expected


@pytest.mark.parametrize(
    ("kind", "topic"),
    [
        ("call.something.new", "telnyx.calls"),
        ("call.recording.new", "telnyx.recordings"),
        ("conference.recording.new", "telnyx.recordings"),
        ("video.room.new", "telnyx.video"),
        ("video.room.composition.new", "telnyx.recordings"),
        ("message.received", "telnyx.other"),
        ("fax.recording.saved", "telnyx.other"),
        ("callx.initiated", "telnyx.other"),
        ("call", "telnyx.other"),
        ("", "telnyx.other"),
    ],
)
def test_kinds_nobody_has_told_us_of_follow_their_family(kind: str, topic: str) -> None:
    assert topics.route(kind) == topic


def test_the_door_writes_only_to_topics_it_waits_for() -> None:
    assert set(TABLE) < set(topics.INGESTED)
    assert set(topics.INGESTED) < set(topics.ALL)
    assert len(set(topics.ALL)) == len(topics.ALL)


def test_every_topic_has_the_common_figures_and_the_prefix() -> None:
    specs = topics.specs(section(prefix="eu.", partitions=6, retention_hours=2))
    assert [spec.name for spec in specs] == [f"eu.{topic}" for topic in topics.ALL]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,249}", spec.name) for spec in specs)
    waiting = specs[-len(topics.DEFERRED) :]
    assert {tuple({**asdict(spec), "name": ""}.values()) for spec in specs[: -len(waiting)]} == {
        ("", 6, 3, 2, 7_200_000, False, 2_097_152)
    }
    assert [spec.name for spec in waiting] == [f"eu.{it}" for it in topics.DEFERRED.values()]
    assert {(it.partitions, it.retention_ms) for it in waiting} == {(3, 86_400_000)}, (
        "few partitions, for many read them; and nothing is forgotten while it waits"
    )


def test_an_override_changes_its_topic_and_nothing_else() -> None:
    own = {
        "partitions": 24,
        "replicas": 1,
        "in_sync_replicas_min": 1,
        "retention_hours": 1,
        "record_bytes_max": 3_000_000,
        "compacted": True,
    }
    plain = topics.specs(section(prefix="eu."))
    specs = topics.specs(section(prefix="eu.", overrides={"telnyx.calls": own}))
    assert specs[1:] == plain[1:]
    assert tuple(asdict(specs[0]).values()) == (
        "eu.telnyx.calls", 24, 1, 1, 3_600_000, True, 3_000_000,
    )  # fmt: skip


def test_what_an_override_leaves_out_follows_the_rest() -> None:
    specs = topics.specs(section(partitions=6, overrides={"trunkline.dead": {"replicas": 2}}))
    dead = specs[topics.ALL.index("trunkline.dead")]
    assert (dead.partitions, dead.replicas, dead.in_sync_replicas_min) == (6, 2, 2)


@pytest.mark.parametrize("name", ["telnyx.cals", "eu.telnyx.calls", ""])
def test_an_override_of_no_topic_of_ours_is_refused_by_name(name: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(f"topics.overrides.{name}: no such topic")):
        topics.specs(section(prefix="eu.", overrides={name: {"partitions": 1}}))


@pytest.mark.parametrize("own", [{"partitons": 1}, {"partitions": 0}, {"record_bytes_max": 1_000}])
def test_an_override_with_a_wrong_figure_is_refused(own: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=next(iter(own))):
        section(overrides={"telnyx.calls": own})


def test_names_with_the_prefix_are_those_of_the_specs() -> None:
    name = topics.prefixed("eu.")
    assert [name(topic) for topic in topics.ALL] == [
        spec.name for spec in topics.specs(section(prefix="eu."))
    ]
    with pytest.raises(KeyError):
        name("telnyx.cals")
