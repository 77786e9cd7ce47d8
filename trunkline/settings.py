"""What can be set, its limits and its defaults; config.py reads it from file and environment."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

# Kubernetes gives every pod variables for each Service of its namespace; a Service called
# `trunkline` or `trunkline-ingest` must not stop the pods behind it.
SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$")


def _split(value: object) -> object:
    """Lists may be written with commas or line breaks, as the environment and secret files need."""
    if isinstance(value, str):
        return [part.strip() for part in re.split(r"[,\n]", value) if part.strip()]
    return value


TextList = Annotated[list[str], BeforeValidator(_split)]
_TCP = r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/]+):\d{1,5}"
Bind = Annotated[str, Field(pattern=f"^{_TCP}$")]
# The parent of several workers asks each of them over a socket in a folder of its own.
ProbeBind = Annotated[str, Field(pattern=f"^(unix:/.+|{_TCP})$")]
AccountName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class PublicKeyEntry(Section):
    key: str
    not_before: str | None = None
    not_after: str | None = None


def _key_entries(value: object) -> object:
    """`KEY` or `KEY;not_before=…;not_after=…`, several by comma or line; or a list."""
    value = _split(value)
    if not isinstance(value, list):
        return value
    return [_key_entry(entry) if isinstance(entry, str) else entry for entry in value]


def _key_entry(text: str) -> dict[str, str]:
    key, *limits = (part.strip() for part in text.split(";"))
    entry = {"key": key}
    for limit in limits:
        name, equals, value = limit.partition("=")
        if not equals:
            raise ValueError(f"{limit!r} is not not_before=TIME or not_after=TIME")
        entry[name.strip()] = value.strip()
    return entry


PublicKeys = Annotated[tuple[PublicKeyEntry, ...], BeforeValidator(_key_entries)]


class Credentials(Section):
    """What one Telnyx account needs. Ingest uses the public keys and never the API key."""

    public_key: PublicKeys = ()
    public_key_file: Path | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None


class TelnyxSection(Credentials):
    base_url: str = "https://api.telnyx.com/v2"


class AccountSection(Credentials):
    name: AccountName


class IngestSection(Section):
    bind: Bind = "0.0.0.0:8080"
    workers: int = Field(1, ge=1, le=64)
    answer_seconds: float = Field(1.0, gt=0.05, le=30, description="bound on any answer (P7)")
    retry_after_seconds: int = Field(2, ge=1, le=3600)
    timestamp_tolerance_seconds: int = Field(300, ge=1, le=300)
    headers_seconds: float = Field(5.0, gt=0, le=60)
    body_seconds: float = Field(10.0, gt=0, le=120)
    idle_seconds: float = Field(75.0, gt=0, le=3600)
    body_bytes_max: int = Field(1_000_000, ge=1, le=1_000_000)
    header_bytes_max: int = Field(16_384, ge=1_024, le=262_144)
    header_count_max: int = Field(100, ge=8, le=1_000)
    target_bytes_max: int = Field(2_048, ge=64, le=65_536)
    connections_max: int = Field(4_096, ge=1, le=65_536)
    receiving_bytes_max: int = Field(32 * 1024 * 1024, ge=1_000_000)
    inflight_bytes_max: int = Field(32 * 1024 * 1024, ge=1_100_000)
    flush_records_max: int = Field(512, ge=1, le=10_000)
    flush_interval_ms: float = Field(2.0, ge=0, le=100)
    flush_bytes_max: int = Field(1_048_576, ge=65_536)
    dedupe_entries_max: int = Field(50_000, ge=0)
    refusals_kept: int = Field(32, ge=0, le=1_000)
    drain_delay_seconds: float = Field(5.0, ge=0, le=300)
    drain_seconds: float = Field(10.0, gt=0, le=300)
    key_reload_seconds: float = Field(2.0, gt=0, le=3600)
    clock_skew_alarm_seconds: float = Field(5.0, gt=0)


class ProbeSection(Section):
    bind: ProbeBind = "0.0.0.0:9090"
    loop_lag_seconds_max: float = Field(5.0, gt=0)


class ConsoleSection(Section):
    bind: Bind = "127.0.0.1:8088"


class ArchiveSection(Section):
    origins: TextList = []


class LakeSection(Section):
    """A file holds what arrived within so many seconds of its first record, or less."""

    cut_seconds: float = Field(10.0, gt=0, le=3600)
    cut_records_max: int = Field(5_000, ge=1, le=100_000)
    cut_bytes_max: int = Field(8_388_608, ge=65_536, le=268_435_456)


class WorkerSection(Section):
    """How events are worked off, for every processor."""

    concurrency: int = Field(100, ge=1, le=10_000)
    fetch_records_max: int = Field(250, ge=1, le=10_000)
    fetch_wait_seconds: float = Field(0.5, gt=0, le=10)
    place_records_max: int = Field(500, ge=1, le=100_000)
    place_bytes_max: int = Field(8 * 1024 * 1024, ge=65_536)
    held_bytes_max: int = Field(256 * 1024 * 1024, ge=1_000_000)
    commit_seconds: float = Field(1.0, gt=0, le=60)
    commit_settles: int = Field(1_000, ge=1)
    retry_attempts_max: int = Field(10, ge=1, le=1_000)
    retry_seconds_max: float = Field(60.0, gt=0)
    retry_first_seconds: float = Field(0.2, gt=0, le=60)
    retry_most_seconds: float = Field(10.0, gt=0, le=3600)
    revoke_seconds: float = Field(3.0, ge=0, le=60, description="half of the group's patience")
    drain_seconds: float = Field(10.0, ge=0, le=3600)
    rejoin_most_seconds: float = Field(10.0, gt=0, le=300)
    lag_interval_seconds: float = Field(5.0, gt=0, le=300)
    stall_seconds: float = Field(300.0, gt=0)
    circuit_window_seconds: float = Field(60.0, gt=0, le=3600)
    circuit_attempts_min: int = Field(20, ge=1)
    circuit_failed_share: float = Field(0.5, gt=0, le=1)
    circuit_probe_first_seconds: float = Field(1.0, gt=0, le=60)
    circuit_probe_most_seconds: float = Field(30.0, gt=0, le=3600)
    circuit_dead_max: int = Field(60, ge=1, description="dead letters within the window")
    circuit_dead_share: float = Field(0.1, ge=0, le=1)


class TopicsSection(Section):
    prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    partitions: int = Field(12, ge=1, le=1_000)
    replicas: int = Field(3, ge=1, le=32)
    in_sync_replicas_min: int = Field(2, ge=1, le=32)
    retention_hours: int = Field(24 * 14, ge=1)
    record_bytes_max: int = Field(2_097_152, ge=1_100_000)
    overrides: dict[str, "TopicOverride"] = {}


class TopicOverride(Section):
    """One topic's own figures, under `topics.overrides`; what is left out follows `topics`."""

    partitions: int | None = Field(None, ge=1, le=1_000)
    replicas: int | None = Field(None, ge=1, le=32)
    in_sync_replicas_min: int | None = Field(None, ge=1, le=32)
    retention_hours: int | None = Field(None, ge=1)
    record_bytes_max: int | None = Field(None, ge=1_100_000)
    compacted: bool | None = None


class SqliteSection(Section):
    """The embedded stream's own figures."""

    busy_seconds: float = Field(0.5, gt=0, le=30)
    poll_seconds: float = Field(0.02, gt=0, le=5)
    retention_sweep_seconds: float = Field(60.0, gt=0)


class KafkaSection(Section):
    request_seconds: float = Field(5.0, gt=0)
    close_seconds: float = Field(5.0, gt=0)


class LogSection(Section):
    format: Literal["json", "text"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    queue_records_max: int = Field(10_000, ge=100)
    refusals_per_second_max: int = Field(5, ge=0)


class Settings(Section):
    stream: str = "sqlite:///var/stream.db"
    ledger: str = "sqlite:///var/ledger.db"
    store: str = "file:///var/store"
    rules: Path = Path("rules.yaml")
    telnyx: TelnyxSection = TelnyxSection()
    accounts: tuple[AccountSection, ...] = ()
    ingest: IngestSection = IngestSection()
    probe: ProbeSection = ProbeSection()
    console: ConsoleSection = ConsoleSection()
    archive: ArchiveSection = ArchiveSection()
    lake: LakeSection = LakeSection()
    worker: WorkerSection = WorkerSection()
    topics: TopicsSection = TopicsSection()
    sqlite: SqliteSection = SqliteSection()
    kafka: KafkaSection = KafkaSection()
    log: LogSection = LogSection()


TopicsSection.model_rebuild()
