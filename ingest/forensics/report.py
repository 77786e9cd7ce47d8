"""What forensics found, as data, and as text for someone in a hurry. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

from trunkline.mask import printable

CHECKLIST: tuple[str, ...] = tuple(
    (
        "Is the public key the one of the account that sends (Telnyx portal, Keys & Credentials > "
        "Public Key)? Each account has one key, not each application.\n"
        "Does anything before the door (framework, proxy, gateway, tunnel) parse, pretty-print, "
        "re-encode or compress the body? Telnyx signs the raw bytes.\n"
        "Was the body saved as raw bytes, without editor, terminal or copy and paste between?\n"
        "Do signature, timestamp and body belong to one delivery? A retry is signed anew.\n"
        "Is it from Telnyx at all? Compare it with its webhook deliveries in the Telnyx portal."
    ).splitlines()
)
_LINE_CHARACTERS_MAX = 400


@dataclass(frozen=True, slots=True)
class Finding:
    """`proven` means the signature was verified after undoing exactly this."""

    code: str
    sentence: str
    hint: str
    proven: bool = False


@dataclass(frozen=True, slots=True)
class KeyTrial:
    account: str
    key: str
    fits: bool
    state: str


@dataclass(frozen=True, slots=True)
class Facts:
    method: str
    target: str
    account: str | None
    headers: tuple[tuple[str, str | None], ...]
    signature: str
    timestamp: str
    skew_seconds: float | None
    skew: str
    keys: tuple[KeyTrial, ...]
    body_bytes: int
    body_sha256: str
    body_looks: str
    verifications: int


@dataclass(frozen=True, slots=True)
class Report:
    accepted: bool
    status: int
    findings: tuple[Finding, ...]
    checklist: tuple[str, ...]
    facts: Facts

    @property
    def summary(self) -> str:
        if self.accepted:
            return "ACCEPTED (200): signature, timestamp and key are right"
        return f"REFUSED ({self.status}): {self.findings[0].sentence}"


def as_dict(report: Report) -> dict[str, Any]:
    """Plain values for JSON."""
    return {"summary": report.summary, **asdict(report)}


def render(report: Report) -> str:
    """The verdict first, then why and what to do, then what was seen. Safe for a terminal."""
    lines = [report.summary if report.accepted else f"REFUSED ({report.status})"]
    for finding in report.findings:
        sure = " (proven)" if finding.proven else ""
        lines += ["", f"- {finding.sentence}{sure}", f"  {finding.hint}"]
    if report.checklist:
        lines += ["", "To check:"]
        lines += [f"{number}. {line}" for number, line in enumerate(report.checklist, 1)]
    lines += ["", "Seen:", *_seen(report.facts)]
    return "\n".join(printable(line, _LINE_CHARACTERS_MAX) for line in lines) + "\n"


def _seen(facts: Facts) -> list[str]:
    target = facts.target or "(path not captured)"
    rows = [
        ("request", f"{facts.method} {target}, account {facts.account or 'unknown'}"),
        ("signature", facts.signature),
        ("timestamp", f"{facts.timestamp}; {facts.skew}"),
        *(
            ("key", f"{key.key}… of {key.account}: {'fits' if key.fits else 'no'}, {key.state}")
            for key in facts.keys
        ),
        ("body", f"{facts.body_bytes:,} bytes, {facts.body_looks}"),
        ("sha256", facts.body_sha256),
        *(
            ("header", name if value is None else f"{name}: {value}")
            for name, value in facts.headers
        ),
    ]
    return [f"  {name:<10} {text}" for name, text in rows]


def duration(seconds: float) -> str:
    """As people say it: 12 min 5 s, 3 h 20 min, 2 days 4 h."""
    total = round(seconds)
    for size, unit, rest_size, rest_unit in (
        (86_400, "days", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if total >= size:
            whole, rest = total // size, total % size // rest_size
            name = "day" if unit == "days" and whole == 1 else unit
            return f"{whole} {name}" + (f" {rest} {rest_unit}" if rest else "")
    return f"{total} s"
