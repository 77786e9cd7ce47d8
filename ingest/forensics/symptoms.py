"""What a request shows of its way here: proxies, other schemes, a body that looks handled. Pure."""

import re
from collections.abc import Iterator
from typing import Any

from ingest.forensics.claims import RawHeaders
from ingest.forensics.report import Finding
from ingest.forensics.rewriting import parse
from ingest.forensics.tampering import is_form
from ingest.reading import read
from trunkline.mask import mask_text, printable

_VALUE_CHARACTERS_MAX = 200
_HARMLESS = frozenset(
    """accept accept-encoding cf-ray connection content-encoding content-length content-type date
    expect host server telnyx-timestamp transfer-encoding user-agent via x-amzn-trace-id
    x-forwarded-port x-forwarded-proto""".split()  # noqa: SIM905  # read as prose
)
# Who signs like this; all of them are no signature of a Telnyx webhook of version 2.
_OTHER_SCHEMES = {
    "webhook-signature": "Standard Webhooks (HMAC)",
    "svix-signature": "Svix (HMAC)",
    "x-hub-signature": "WebSub or GitHub (HMAC)",
    "x-hub-signature-256": "WebSub or GitHub (HMAC)",
    "stripe-signature": "Stripe (HMAC)",
    "x-twilio-signature": "Twilio (HMAC)",
    "x-slack-signature": "Slack (HMAC)",
    "x-telnyx-signature": "Telnyx's old version 1 (HMAC)",
}
_PROXIES = {
    "cf-ray": "Cloudflare",
    "cf-connecting-ip": "Cloudflare",
    "x-amzn-trace-id": "an AWS load balancer or API Gateway",
    "x-amz-cf-id": "CloudFront",
    "x-azure-ref": "Azure Front Door",
    "x-cloud-trace-context": "a Google load balancer",
    "x-vercel-id": "Vercel",
    "fly-request-id": "Fly",
    "x-envoy-external-address": "Envoy",
    "ngrok-trace-id": "ngrok",
    "via": "a proxy (Via)",
    "forwarded": "a proxy (Forwarded)",
    "x-forwarded-for": "a proxy (X-Forwarded-For)",
    "x-forwarded-host": "a proxy (X-Forwarded-Host)",
    "x-forwarded-proto": "a proxy (X-Forwarded-Proto)",
    "x-real-ip": "a proxy (X-Real-IP)",
}


def harmless_value(name: bytes, value: bytes) -> tuple[str, str | None]:
    """A header for showing; of most only the name, for who knows what a stranger put there."""
    shown = printable(name, 80)
    if name.lower().decode("latin-1") not in _HARMLESS:
        return shown, None
    return shown, mask_text(printable(value, _VALUE_CHARACTERS_MAX))


def body_looks(headers: RawHeaders, body: bytes) -> str:
    """In words; what the door would say of an authentic body it cannot read is added."""
    content_type = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    unreadable = read(content_type, body).unreadable
    words = _look(body)
    return words if unreadable is None else f"{words}; it would go to quarantine: {unreadable}"


def _look(body: bytes) -> str:
    start = body.lstrip()[:15].lower()
    if start.startswith(b"<"):
        return "HTML" if start.startswith((b"<!doctype html", b"<html")) else "XML"
    document = parse(body.removeprefix(b"\xef\xbb\xbf"))
    if isinstance(document, dict):
        return _look_object(document)
    if document is not None:
        return "JSON, but no object"
    if is_form(body):
        return "a form (TeXML)"
    return "neither JSON nor a form" if body else "empty"


def _look_object(document: dict[str, Any]) -> str:
    if isinstance(document.get("data"), dict):
        return "JSON of version 2"
    kind = document.get("event_type")
    if isinstance(kind, str):
        return "JSON without the `data` wrapper" if "." in kind else "flat JSON of version 1"
    return "JSON, but no event"


def symptoms(headers: RawHeaders, body: bytes, *, explained: bool) -> tuple[Finding, ...]:
    """Remarks beside the verdict; those that only guess at a cause are for what has none yet."""
    fields = {name.lower().decode("latin-1"): value for name, value in headers}
    return (
        *_foreign(fields, body),
        *_length(fields, body),
        *(() if explained else _traces(fields, body)),
    )


def _foreign(fields: dict[str, bytes], body: bytes) -> Iterator[Finding]:
    if "telnyx-signature-ed25519" in fields:
        return
    for name, scheme in _OTHER_SCHEMES.items():
        if name in fields:
            sentence = f"it is signed in another way: {name} is of {scheme}"
            hint = "Telnyx signs version 2 with Ed25519, in telnyx-signature-ed25519"
            yield Finding("other_scheme", sentence, hint)
    if _look(body) == "flat JSON of version 1":
        sentence = "the body is a webhook of version 1, which is never signed with Ed25519"
        hint = 'set webhook_api_version to "2" on the Telnyx application or connection'
        yield Finding("version_1", sentence, hint)


def _length(fields: dict[str, bytes], body: bytes) -> Iterator[Finding]:
    length = fields.get("content-length", b"").strip()
    if length.isdigit() and int(length[:20]) != len(body):
        sentence = f"Content-Length says {int(length[:20]):,} bytes, the body has {len(body):,}"
        hint = "was the body saved exactly (no editor, no copy and paste), and whole?"
        yield Finding("length_differs", sentence, hint)


def _traces(fields: dict[str, bytes], body: bytes) -> Iterator[Finding]:
    proxies = dict.fromkeys(words for name, words in _PROXIES.items() if name in fields)
    if proxies:
        sentence = "it came through " + ", ".join(proxies)
        hint = "check that it passes body and headers on untouched"
        yield Finding("proxy_seen", sentence, hint)
    if b"\xef\xbf\xbd" in body:
        sentence = "the body holds replacement characters (U+FFFD)"
        hint = "it was decoded as text with losses; what was signed cannot be restored"
        yield Finding("characters_lost", sentence, hint)
    if _look(body) == "HTML":
        sentence = "the body is a web page"
        yield Finding("html", sentence, "did a login page or an error page get in between?")
    if _in_order(parse(body)) and re.search(rb'":\s', body):
        sentence = "the body is spaced JSON with its keys sorted, as programs write it"
        hint = "was it parsed and written anew? its first order cannot be restored"
        yield Finding("keys_sorted", sentence, hint)


def _in_order(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    inner = document.get("data", document)
    return all(list(part) == sorted(part) for part in (document, inner) if isinstance(part, dict))
