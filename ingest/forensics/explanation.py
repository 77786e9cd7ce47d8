"""Explains why a request is accepted or refused, by trying what may have happened to it. Pure."""

import hashlib
from collections.abc import Iterator, Mapping

from ingest.forensics import claims, tampering
from ingest.forensics.claims import Claim, RawHeaders
from ingest.forensics.report import CHECKLIST, Facts, Finding, KeyTrial, Report, duration
from ingest.forensics.search import AccountKey, Match, Search, ordered_keys
from ingest.forensics.symptoms import body_looks, harmless_value, symptoms
from ingest.head import PATH
from trunkline.clock import rfc3339
from trunkline.envelope import SIGNATURE, TIMESTAMP
from trunkline.keys import DEFAULT_ACCOUNT, Keys
from trunkline.mask import mask_text, printable

_HEADERS_SHOWN_MAX = 100
_BODY_BYTES_MAX = tampering.BODY_BYTES_MAX
# In the order in which the door looks at them.
_STATUS = {
    "header_duplicated": 400,
    "unknown_path": 404,
    "unknown_account": 404,
    "method": 405,
    "content_encoding": 415,
    "body_too_large": 413,
}
# Those of the signature are looked at by themselves.
_ONCE = (b"host", b"content-length", b"content-type", b"transfer-encoding", b"expect")


def explain(
    method: str | bytes,
    target: str | bytes,
    headers: RawHeaders,
    body: bytes,
    accounts: Mapping[str, Keys],
    now: float,
    tolerance_seconds: float,
) -> Report:
    """`target` may be "" if it was not captured; then every account is as good as another.

    Takes milliseconds for a usual webhook and seconds for a hostile megabyte: not for a loop.
    """
    method, target = _text(method), _text(target)
    routing, account = _route(method, target, headers, body, accounts)
    keys = ordered_keys(accounts, account, now)
    search = Search(claims.signatures(headers), claims.timestamps(headers), keys, body)
    match = search.run()
    skew = _skew(search, match, now)
    problems = [*routing, *_problems(search, match, account, skew, now, tolerance_seconds)]
    remarks = symptoms(headers, body, explained=match is not None)
    checklist = () if match else CHECKLIST
    # Another scheme, or version 1, says more than that our headers are missing.
    findings = (*problems, *remarks) if search.complete else (*remarks, *problems)
    facts = Facts(
        method=printable(method, 20),
        target=printable(mask_text(target), 200),
        account=account,
        headers=tuple(harmless_value(*header) for header in headers[:_HEADERS_SHOWN_MAX]),
        signature=_claim_words(search.signatures),
        timestamp=_claim_words(search.timestamps),
        skew_seconds=skew,
        skew=_skew_words(skew),
        keys=tuple(_trial(one, match, now) for one in keys),
        body_bytes=len(body),
        body_sha256=hashlib.sha256(body).hexdigest(),
        body_looks=body_looks(headers, body),
        verifications=search.verifications,
    )
    return Report(not problems, _status(problems), findings, checklist, facts)


def _problems(
    search: Search,
    match: Match | None,
    account: str | None,
    skew: float | None,
    now: float,
    tolerance_seconds: float,
) -> Iterator[Finding]:
    yield from _claim_problems(search, match)
    yield from _match_problems(match, account, now)
    yield from _time_problems(skew, match, tolerance_seconds)
    if match is None and search.complete:
        yield _unexplained(search)


def _status(problems: list[Finding]) -> int:
    codes = {problem.code for problem in problems}
    found = (status for code, status in _STATUS.items() if code in codes)
    return next(found, 401 if problems else 200)


def _text(text: str | bytes) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else text


def _route(
    method: str, target: str, headers: RawHeaders, body: bytes, accounts: Mapping[str, Keys]
) -> tuple[list[Finding], str | None]:
    """What the door finds wrong before it looks at any signature, and whose request it is."""
    names = [name.lower() for name, _ in headers]
    found = [
        Finding("header_duplicated", f"the header {name.decode()} comes twice", "send it once")
        for name in _ONCE
        if names.count(name) > 1
    ]
    path, base = _path(target), PATH.decode()
    account = path.removeprefix(base + "/") if path.startswith(base + "/") else None
    if target and account is None and path != base:
        found.append(Finding("unknown_path", f"{path} is not a path of ours", f"send to {base}"))
    if account is not None and account not in accounts:
        hint = "the accounts set here are: " + ", ".join(sorted(accounts))
        found.append(Finding("unknown_account", f"there is no account {account!r} here", hint))
        account = None
    if path == base:
        account = DEFAULT_ACCOUNT if DEFAULT_ACCOUNT in accounts else None
        account = next(iter(accounts)) if len(accounts) == 1 else account
        if account is None:
            hint = f"send to {base}/ACCOUNT, one of: " + ", ".join(sorted(accounts))
            found.append(Finding("unknown_account", f"{base} alone names no account", hint))
    if method != "POST":
        hint = "set the webhook method to POST"
        found.append(
            Finding("method", f"the method is {printable(method, 20)}, only POST is taken", hint)
        )
    if b"content-encoding" in names:
        hint = "switch off request compression in the proxy before us; Telnyx sends none"
        sentence = "the body is said to be compressed (Content-Encoding), which is never taken"
        found.append(Finding("content_encoding", sentence, hint))
    if len(body) > _BODY_BYTES_MAX:
        sentence = f"the body has {len(body):,} bytes, more than {_BODY_BYTES_MAX:,}"
        found.append(Finding("body_too_large", sentence, "no webhook of Telnyx is that large"))
    return found, account


def _path(target: str) -> str:
    if "://" in target:
        target = "/" + target.partition("://")[2].partition("/")[2]
    return printable(target.partition("?")[0], 100)


def _claim_problems(search: Search, match: Match | None) -> Iterator[Finding]:
    both = ((SIGNATURE, search.signatures), (TIMESTAMP, search.timestamps))
    missing = [name for name, found in both if not found]
    hint = "did a proxy drop it? else this request is not from Telnyx"
    if len(missing) == len(both):
        yield Finding("unsigned", "it carries neither signature nor timestamp of Telnyx", hint)
    elif missing:
        yield Finding("header_missing", f"the header {missing[0]} is missing", hint)
    claimed = (
        (match.signature, match.timestamp)
        if match
        else (
            *search.signatures[:1],
            *search.timestamps[:1],
        )
    )
    flaws = {flaw.code + flaw.sentence: flaw for claim in claimed for flaw in claim.flaws}
    for flaw in flaws.values():
        hint = "pass the header on exactly as Telnyx sent it"
        yield Finding(flaw.code, flaw.sentence, hint, proven=match is not None)


def _match_problems(match: Match | None, account: str | None, now: float) -> Iterator[Finding]:
    if match is None:
        return
    if match.guess:
        sentence = f"the body was changed on the way: {match.guess.change}"
        hint = "the door must get the raw bytes; nothing before it may parse or rewrite the body"
        yield Finding(match.guess.code, sentence, hint, proven=True)
    owner, key = match.key
    if account is not None and owner != account:
        sentence = (
            f"the signature is right, but with the key {key.name} of the account {owner!r}, "
            f"not with one of {account!r}"
        )
        hint = f"send it to {PATH.decode()}/{owner}, or give {account!r} that key"
        yield Finding("another_account", sentence, hint, proven=True)
    if now < key.not_before:
        sentence = f"the key {key.name} is in force only from {rfc3339(key.not_before)}"
        yield Finding("key_not_yet", sentence, "set its not_before earlier", proven=True)
    if now > key.not_after:
        sentence = f"the key {key.name} was in force until {rfc3339(key.not_after)}"
        hint = "Telnyx still signs with it: set not_after later, or rotate the key at Telnyx"
        yield Finding("key_no_more", sentence, hint, proven=True)


def _skew(search: Search, match: Match | None, now: float) -> float | None:
    claim = match.timestamp if match else next(iter(search.timestamps), None)
    return None if claim is None or claim.value is None else now - int(claim.value)


def _time_problems(
    skew: float | None, match: Match | None, tolerance_seconds: float
) -> Iterator[Finding]:
    if skew is None or abs(skew) <= tolerance_seconds:
        return
    limit = f"more than {duration(tolerance_seconds)} is not taken"
    whole = "the signature is right, but " if match and not match.guess else ""
    if skew > 0:
        sentence = f"{whole}it was signed {duration(skew)} before it came; {limit}"
        hint = "did a queue or a retrying proxy hold it? or is the clock here fast?"
        yield Finding("timestamp_old", sentence, hint, proven=match is not None)
    else:
        sentence = f"{whole}it was signed {duration(-skew)} after our clock; {limit}"
        yield Finding("timestamp_future", sentence, "is the clock here slow?", match is not None)


def _unexplained(search: Search) -> Finding:
    readable = any(one.value for one in search.signatures)
    sentence = (
        "body or key differ in a way we cannot guess"
        if readable
        else "there is no readable signature to try any key with"
    )
    return Finding("unexplained", sentence, "go through the list below")


def _claim_words(found: list[Claim]) -> str:
    if not found:
        return "missing"
    claim = found[0]
    state = "as it should be"
    if claim.flaws:
        state = ", ".join(flaw.code for flaw in claim.flaws)
    return f"{claim.name}: {len(claim.text)} characters, {state}"


def _skew_words(skew: float | None) -> str:
    if skew is None:
        return "unknown"
    return f"signed {duration(abs(skew))} {'before' if skew >= 0 else 'after'} our clock"


def _trial(one: AccountKey, match: Match | None, now: float) -> KeyTrial:
    state = "in force"
    if now < one.key.not_before:
        state = f"not before {rfc3339(one.key.not_before)}"
    elif now > one.key.not_after:
        state = f"not after {rfc3339(one.key.not_after)}"
    fits = (
        match is not None and match.key.key.raw == one.key.raw and match.key.account == one.account
    )
    return KeyTrial(one.account, one.key.name, fits, state)
