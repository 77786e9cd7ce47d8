"""Judges a run: sender's log, stream's content and door's metrics must tell one story. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from tests.load.sender import REFUSED, Sent
from tests.load.webhooks import Nature
from trunkline.envelope import Envelope
from trunkline.keys import PublicKey
from trunkline.stream import Delivery

OK, UNAUTHORIZED, UNAVAILABLE = 200, 401, 503
VERDICTS = ("accepted", "quarantined", "refused", "unavailable", "gone")
_SHOWN_MAX = 5


@dataclass(slots=True)
class Summary:
    sent: int = 0
    ok: int = 0
    refused: int = 0  # 4xx
    unavailable: int = 0
    unanswered: int = 0
    records: int = 0
    lost: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.sent:,} sent, {self.ok:,} answered 200, {self.refused:,} refused, "
            f"{self.unavailable:,} told to try again, {self.unanswered:,} without answer; "
            f"{self.records:,} records, {self.lost:,} lost"
        )


def check(
    log: Sequence[Sent],
    dump: Iterable[Delivery],
    keys: Mapping[str, PublicKey],
    *,
    quarantine: str = "telnyx.quarantine",
    refusals_due: bool = False,
) -> Summary:
    """`keys` by their text; `refusals_due` where honest webhooks may be refused: the
    clock is off, or a key was taken back.
    """
    deliveries = list(dump)
    summary = Summary(sent=len(log), records=len(deliveries))
    for sent in log:
        summary.ok += sent.status == OK
        summary.refused += 400 <= sent.status < 500
        summary.unavailable += sent.status == UNAVAILABLE
        summary.unanswered += sent.status == 0
    stored: defaultdict[bytes, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        stored[sha256(delivery.value or b"").digest()].append(delivery)
    lost = [
        sent for sent in log if sent.status == OK and not stored.get(sent.shot.digest)
    ]  # P1 and P2 in one: the digest is of the exact bytes
    summary.lost = len(lost)
    _tell(summary, "answered 200 but not in the stream", [sent.shot.id for sent in lost])
    _check_answers(summary, log, refusals_due=refusals_due)
    _check_records(summary, log, stored, quarantine)
    _check_proofs(summary, deliveries, keys)
    _check_copies(summary, log, stored)
    _check_order(summary, log, stored)
    return summary


def _tell(summary: Summary, problem: str, cases: Sequence[str]) -> None:
    if cases:
        shown = ", ".join(cases[:_SHOWN_MAX])
        summary.violations.append(f"{len(cases)} {problem}: {shown}")


def _check_answers(summary: Summary, log: Sequence[Sent], *, refusals_due: bool) -> None:
    honest = {OK, UNAVAILABLE, 0} | ({UNAUTHORIZED} if refusals_due else set())
    wrong = [
        f"{sent.shot.nature.value} {sent.shot.kind} got {sent.status}"
        for sent in log
        if sent.status not in ({UNAUTHORIZED, 0} if sent.shot.nature is Nature.FORGED else honest)
    ]
    _tell(summary, "wrong answers", wrong)


def _check_records(
    summary: Summary,
    log: Sequence[Sent],
    stored: Mapping[bytes, Sequence[Delivery]],
    quarantine: str,
) -> None:
    shots = {sent.shot.digest: sent.shot for sent in log if sent.shot.nature is not Nature.FORGED}
    foreign, misplaced, misnamed = [], [], []
    for digest, copies in stored.items():
        shot = shots.get(digest)
        if shot is None:
            foreign.append(f"{copies[0].topic} {copies[0].offset}")
            continue
        for copy in copies:
            if (copy.topic == quarantine) != (shot.nature is Nature.UNREADABLE):
                misplaced.append(f"{shot.kind} in {copy.topic}")
            if Envelope.of(copy).id != shot.id:
                misnamed.append(shot.id)
    _tell(summary, "records that nobody honest sent", foreign)
    _tell(summary, "records in the wrong place", misplaced)
    _tell(summary, "records with another id than their event", misnamed)


def _check_proofs(
    summary: Summary, deliveries: Sequence[Delivery], keys: Mapping[str, PublicKey]
) -> None:
    unproven = []
    for delivery in deliveries:
        envelope = Envelope.of(delivery)
        key = keys.get(envelope.headers.get("tl-key", ""))
        if key is None or not envelope.proven(key):
            unproven.append(f"{delivery.topic} {delivery.partition} {delivery.offset}")
    _tell(summary, "records that cannot be proven again", unproven)


def _check_copies(
    summary: Summary, log: Sequence[Sent], stored: Mapping[bytes, Sequence[Delivery]]
) -> None:
    """More copies than sendings only where one went without its 200: the stream tries again."""
    sendings = Counter(sent.shot.digest for sent in log)
    unsure = {sent.shot.digest for sent in log if sent.status != OK}
    extra = [
        Envelope.of(copies[0]).id or "?"
        for digest, copies in stored.items()
        if len(copies) > sendings[digest] and digest not in unsure
    ]
    _tell(summary, "records copied more often than sent", extra)


def _check_order(
    summary: Summary, log: Sequence[Sent], stored: Mapping[bytes, Sequence[Delivery]]
) -> None:
    """Within a key: what began after another was answered 200 lies behind it."""
    sendings = Counter(sent.shot.digest for sent in log)
    lines: defaultdict[tuple[str, bytes | None], list[tuple[int, int, Sent]]] = defaultdict(list)
    for sent in log:
        copies = stored.get(sent.shot.digest, ())
        if sent.status == OK and sendings[sent.shot.digest] == 1 and len(copies) == 1:
            place = copies[0]
            lines[place.topic, place.key].append((place.partition, place.offset, sent))
    wrong, split = [], []
    for (topic, key), line in lines.items():
        if len({partition for partition, _, _ in line}) > 1:
            split.append(f"{topic} {key!r}")
        newest = 0.0
        for _, _, sent in sorted(line, key=lambda item: item[1]):
            if sent.ended < newest:
                wrong.append(f"{topic} {key!r} {sent.shot.id}")
            newest = max(newest, sent.began)
    _tell(summary, "keys in more than one partition", split)
    _tell(summary, "records out of order", wrong)


def check_metrics(log: Sequence[Sent], metrics: Mapping[str, float]) -> list[str]:
    """For a process that lived through the whole run and had no other clients."""
    name = "trunkline_ingest_requests_total"
    counts = {verdict: metrics[f'{name}{{verdict="{verdict}"}}'] for verdict in VERDICTS}
    # Sent, and no answer seen: the door may have counted it anything, or never seen it.
    vague = sum(1 for s in log if s.status == 0 and s.error != REFUSED and s.began)
    answered = Counter(sent.status for sent in log if sent.status)
    rows = (
        ("200", answered[OK], counts["accepted"] + counts["quarantined"]),
        ("503", answered[UNAVAILABLE], counts["unavailable"]),
        ("4xx", sum(n for s, n in answered.items() if 400 <= s < 500), counts["refused"]),
        ("any", sum(answered.values()), sum(counts.values())),
    )
    problems = [
        f"{seen} answers {status} seen, {counted:g} counted, {vague} unanswered: {counts}"
        for status, seen, counted in rows
        if not seen <= counted <= seen + vague
    ]
    reasons = sum(n for key, n in metrics.items() if key.startswith("trunkline_ingest_refused_t"))
    if reasons != counts["refused"]:
        problems.append(f"{counts['refused']:g} refused, but {reasons:g} by reason")
    return problems
