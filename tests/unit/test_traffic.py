"""Synthetic traffic: the same again for the same seed, and each posting what it says it is."""

from collections import Counter

from ingest.gate import Admit, Refuse, Webhook, judge
from trunkline.envelope import SIGNATURE, TIMESTAMP
from trunkline.keys import DevelopmentKey
from trunkline.traffic.script import FORGERIES, Posting, Script
from trunkline.traffic.sender import read_head

KEY = DevelopmentKey(b"k" * 32)
STRANGER = DevelopmentKey(b"s" * 32)
NOW = 1_700_000_000.0


def postings(count: int, seed: int = 1) -> list[Posting]:
    script = Script(seed, KEY, STRANGER)
    return [script.next(NOW + number / 20) for number in range(count)]


def judged(posting: Posting) -> Admit | Refuse:
    headers = {name: value.encode() for name, value in posting.headers}
    webhook = Webhook(
        account="development",
        signature=headers.get(SIGNATURE),
        timestamp=headers.get(TIMESTAMP),
        content_type=headers["content-type"],
        traceparent=None,
        tracestate=None,
        body=posting.body,
    )
    return judge(webhook, (KEY.public,), NOW, 300, str)


def test_the_same_seed_tells_the_same() -> None:
    assert postings(50) == postings(50)
    assert postings(50) != postings(50, seed=2)


def test_each_posting_is_judged_as_it_expects() -> None:
    for posting in postings(2_000):
        verdict = judged(posting)
        if isinstance(verdict, Refuse):
            assert (posting.status, posting.reason) == (401, verdict.reason), posting
        else:
            assert posting.status == 200
            assert (verdict.label.unreadable is not None) is (posting.intent == "unreadable")


def test_the_mixture_has_some_of_everything() -> None:
    sent = postings(4_000)
    intents = Counter(posting.intent.partition(":")[0] for posting in sent)
    assert 0.03 < intents["forged"] / len(sent) < 0.07
    assert intents["unreadable"]
    assert intents["repeated"]
    assert {posting.intent for posting in sent if posting.status == 401} == {
        f"forged: {how}" for how in FORGERIES
    }
    kinds = {v.label.type for v in map(judged, sent) if isinstance(v, Admit)}
    assert len(kinds) > 60
    topics = {v.record.topic for v in map(judged, sent) if isinstance(v, Admit)}
    assert len(topics) == 5


def test_a_repetition_has_the_id_of_what_it_repeats() -> None:
    seen: set[str] = set()
    repeated = 0
    for posting in postings(1_000):
        verdict = judged(posting)
        if isinstance(verdict, Admit) and posting.intent in ("event", "repeated"):
            assert (verdict.label.id in seen) is (posting.intent == "repeated")
            seen.add(verdict.label.id)
            repeated += posting.intent == "repeated"
    assert repeated


def test_an_answer_says_its_length_and_whether_more_may_follow() -> None:
    assert read_head(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") == (200, 0, False)
    closing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"
    assert read_head(closing) == (404, 12, True)
