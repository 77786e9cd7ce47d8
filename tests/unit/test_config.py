"""Settings from file and environment, and keys: what is taken, and how a mistake is named."""

import base64
import json
import re
from pathlib import Path

import pytest

from trunkline.config import DEFAULT_FILE, describe, load, mask_url
from trunkline.errors import Misconfigured
from trunkline.keys import DevelopmentKey, Keyring
from trunkline.settings import Settings

ONE, TWO = DevelopmentKey(b"1" * 32).public, DevelopmentKey(b"2" * 32).public


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no trunkline.yaml of whoever runs the tests can be found."""
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    path = Path("settings.yaml")
    path.write_text(text)
    return path


def wrong(text: str = "", **environ: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        load(written(text), environ)
    return str(caught.value)


def keyring(text: str = "", **environ: str) -> Keyring:
    return Keyring.of(load(written(text), environ))


def wrong_keys(text: str = "", **environ: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        keyring(text, **environ)
    return str(caught.value)


def test_nothing_set_is_the_defaults() -> None:
    assert load(None, {}) == Settings()


def test_the_file_in_this_directory_is_read_unless_another_is_named() -> None:
    Path(DEFAULT_FILE).write_text("ingest: {workers: 2}")
    assert load(None, {}).ingest.workers == 2
    assert load(written("ingest: {workers: 3}"), {}).ingest.workers == 3


@pytest.mark.parametrize("text", ["", "# nothing", "---"])
def test_an_empty_file_is_the_defaults(text: str) -> None:
    assert load(written(text), {}) == Settings()


def test_the_environment_wins_over_the_file() -> None:
    path = written("ingest: {workers: 2, retry_after_seconds: 9}\nstream: sqlite:///a.db")
    settings = load(path, {"TRUNKLINE_INGEST_WORKERS": "4", "TRUNKLINE_STREAM": "kafka://b"})
    assert settings.ingest.workers == 4
    assert settings.ingest.retry_after_seconds == 9
    assert settings.stream == "kafka://b"


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    settings = load(None, {"TRUNKLINE_ARCHIVE_ORIGINS": "https://a, https://b,"})
    assert settings.archive.origins == ["https://a", "https://b"]


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("ingset: {}", "ingset"),
        ("ingest: {wokers: 2}", "ingest.wokers"),
        ("topics: {overrides: {telnyx.calls: {partitons: 2}}}", "partitons"),
        ("accounts: [{name: a, pubic_key: x}]", "accounts.0.pubic_key"),
    ],
)
def test_an_unknown_name_in_the_file_is_named(text: str, setting: str) -> None:
    assert re.search(rf"{re.escape(setting)}: no such setting", wrong(text))


@pytest.mark.parametrize("name", ["TRUNKLINE_INGEST_WOKERS", "TRUNKLINE_INGSET", "TRUNKLINE_"])
def test_an_unknown_name_in_the_environment_is_named(name: str) -> None:
    assert wrong(**{name: "2"}) == f"{name}: no such setting"


def test_names_of_others_and_those_kubernetes_makes_are_passed_over() -> None:
    environ = {
        "PATH": "/bin",
        "TRUNKLINE_PORT": "tcp://10.0.0.1:8080",
        "TRUNKLINE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "TRUNKLINE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "TRUNKLINE_SERVICE_HOST": "10.0.0.1",
        "TRUNKLINE_SERVICE_PORT": "8080",
        "TRUNKLINE_SERVICE_PORT_HTTP": "8080",
        "TRUNKLINE_INGEST_SERVICE_HOST": "10.0.0.1",
        "TRUNKLINE_INGEST_PORT_8080_TCP_PROTO": "tcp",
        "TRUNKLINE_CONFIG": "elsewhere.yaml",
    }
    assert load(None, environ) == Settings()


def test_what_kubernetes_makes_cannot_be_mistaken_for_a_setting() -> None:
    with pytest.raises(Misconfigured, match="TRUNKLINE_INGEST_HOST"):
        load(None, {"TRUNKLINE_INGEST_HOST": "x"})


def test_a_value_of_the_wrong_type_is_named_with_its_variable() -> None:
    message = wrong(TRUNKLINE_INGEST_WORKERS="many")
    assert message.startswith("ingest.workers (TRUNKLINE_INGEST_WORKERS): ")
    assert "integer" in message


def test_a_value_of_the_wrong_type_in_the_file_is_named_by_its_place() -> None:
    assert wrong("ingest: {workers: many}").startswith("ingest.workers: ")


def test_every_mistake_is_told_at_once() -> None:
    message = wrong("ingest: {workers: 0, idle_seconds: -1}\nstore: []")
    assert [line.partition(":")[0] for line in message.splitlines()] == [
        "store",
        "ingest.workers",
        "ingest.idle_seconds",
    ]


@pytest.mark.parametrize(
    "bind",
    ["8080", ":8080", "host", "host:port", "[::1]", "::1:8080", "a:1:2", "http://a:1", "unix:"],
)
def test_a_bind_that_is_no_address_is_named(bind: str) -> None:
    assert "ingest.bind (TRUNKLINE_INGEST_BIND)" in wrong(TRUNKLINE_INGEST_BIND=bind)


@pytest.mark.parametrize("text", ["stream: a\nstream: b", "ingest:\n  workers: 1\n  workers: 2"])
def test_a_setting_written_twice_is_reported_and_not_chosen_from(text: str) -> None:
    message = wrong(text)
    assert "is written twice" in message
    assert f"line {text.count(chr(10)) + 1}" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "must be a mapping"),
        ("a: [", "cannot be read"),
        ("!!python/object/apply:os.getcwd []", "cannot be read"),
        ("ingest: 5", "ingest"),
    ],
)
def test_a_file_that_is_not_settings_is_named(text: str, words: str) -> None:
    assert words in wrong(text)


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"^gone\.yaml: cannot be read"):
        load(Path("gone.yaml"), {})


def test_a_section_that_is_no_section_does_not_swallow_the_environment() -> None:
    assert wrong("ingest: 5", TRUNKLINE_INGEST_WORKERS="2") == "ingest: must be a mapping"


# Secrets.


def test_a_secret_may_come_from_a_file() -> None:
    secret = Path("stream.txt")
    secret.write_text("kafka://b?sasl_plain_password=s3cret\n")
    settings = load(None, {"TRUNKLINE_STREAM_FILE": str(secret)})
    assert settings.stream == "kafka://b?sasl_plain_password=s3cret"


def test_a_secret_and_its_file_at_once_are_refused() -> None:
    message = wrong(TRUNKLINE_STREAM="kafka://b", TRUNKLINE_STREAM_FILE="stream.txt")
    assert message.startswith("TRUNKLINE_STREAM_FILE: set either")


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_secret_file_that_holds_nothing_is_named(content: bytes | None) -> None:
    if content is not None:
        Path("secret").write_bytes(content)
    assert wrong(TRUNKLINE_LEDGER_FILE="secret").startswith("TRUNKLINE_LEDGER_FILE: ")


def test_what_is_shown_has_no_secrets() -> None:
    environ = {
        "TRUNKLINE_STREAM": "kafka://b?sasl_plain_password=s3cret&sasl_plain_username=u",
        "TRUNKLINE_LEDGER": "postgresql://u:s3cret@db/x?sslpassword=s3cret",
        "TELNYX_API_KEY": "KEYs3cret",
        "TELNYX_PUBLIC_KEY": ONE.text,
    }
    settings = load(written("accounts: [{name: eu, api_key: s3cret}]"), environ)
    shown = describe(settings)
    assert "s3cret" not in json.dumps(shown)
    assert shown["stream"] == "kafka://b?sasl_plain_password=***&sasl_plain_username=u"
    assert shown["ledger"] == "postgresql://u:***@db/x?sslpassword=***"
    assert ONE.text in repr(shown), "a public key is no secret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///var/a.db", "sqlite:///var/a.db"),
        ("s3://id:p@ss@host/b", "s3://id:***@host/b"),
        ("s3://token@host/b", "s3://token:***@host/b"),
        ("s3://b?secret_access_key=x&Token=y&region=z", "s3://b?secret_access_key=***&Token=***&region=z"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert mask_url(url) == shown


# Keys.


def test_no_key_at_all_names_the_setting_and_where_to_find_one() -> None:
    message = wrong_keys()
    assert message.startswith("telnyx.public_key (TELNYX_PUBLIC_KEY): ")
    assert "portal" in message


def test_several_keys_with_their_times() -> None:
    text = f"{ONE.text};not_after=2027-01-01T00:00:00Z, {TWO.text};not_before=2026-12-01T00:00:00Z"
    old, new = keyring(TELNYX_PUBLIC_KEY=text).accounts["default"]
    assert (old.text, new.text) == (ONE.text, TWO.text)
    assert old.in_force(1_798_761_600.0)
    assert not old.in_force(1_798_761_600.1)
    assert not new.in_force(1_796_083_199.9)
    assert new.in_force(1_796_083_200.0)


def test_the_file_may_write_keys_as_texts_or_as_mappings() -> None:
    assert keyring(f"telnyx: {{public_key: '{ONE.text}'}}").accounts["default"] == (ONE,)
    text = f"telnyx: {{public_key: [{{key: '{ONE.text}'}}, '{TWO.text}']}}"
    assert keyring(text).accounts["default"] == (ONE, TWO)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not base64!", "not base64"),
        ("абв", "not base64"),
        (base64.b64encode(bytes(31)).decode(), "32 bytes in base64, this is 31"),
        (base64.b64encode(b"x" * 33).decode(), "this is 33"),
        (base64.b64encode(bytes(32)).decode(), "not a safe Ed25519 point"),
        (base64.b64encode(b"\x01" + bytes(31)).decode(), "not a safe Ed25519 point"),
        (base64.b64encode(b"\xec" + b"\xff" * 30 + b"\x7f").decode(), "not a safe Ed25519 point"),
        (f"{ONE.text},{ONE.text}", "the same key twice"),
        (f"{ONE.text};not_after=tomorrow", "not_after"),
        (f"{ONE.text};not_before=2026-12-01T00:00:00", "no time zone"),
        (f"{ONE.text};not_after", "not_after"),
        (f"{ONE.text};until=2026-12-01T00:00:00Z", "until"),
        (" , ", "public_key"),
    ],
)
def test_a_bad_key_is_refused_by_the_name_of_its_setting(text: str, words: str) -> None:
    message = wrong_keys(TELNYX_PUBLIC_KEY=text)
    assert message.startswith("telnyx.public_key")
    assert words in message


def test_a_key_and_a_key_file_at_once_are_refused() -> None:
    Path("key").write_text(ONE.text)
    message = wrong_keys(TELNYX_PUBLIC_KEY=ONE.text, TELNYX_PUBLIC_KEY_FILE="key")
    assert "not both" in message


def test_accounts_have_keys_of_their_own() -> None:
    Path("eu").write_text(f"{ONE.text}\n{TWO.text}\n")
    ring = keyring(
        f"accounts: [{{name: eu, public_key_file: eu}}, {{name: us, public_key: '{TWO.text}'}}]"
    )
    assert dict(ring.accounts) == {"eu": (ONE, TWO), "us": (TWO,)}
    assert ring.account_of_bare_path() is None


def test_the_bare_path_is_the_default_account_or_the_only_one() -> None:
    only = keyring(f"accounts: [{{name: eu, public_key: '{ONE.text}'}}]")
    assert only.account_of_bare_path() == "eu"
    both = keyring(
        f"accounts: [{{name: eu, public_key: '{ONE.text}'}}]", TELNYX_PUBLIC_KEY=TWO.text
    )
    assert both.account_of_bare_path() == "default"
    assert list(both.accounts) == ["default", "eu"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{name: eu, public_key: ONE}, {name: eu, public_key: TWO}]", "'eu' is set twice"),
        ("[{name: eu, public_key: ONE}, {name: us}]", "accounts.us.public_key: no public key"),
        ("[{name: eu, public_key_file: gone}]", "accounts.eu.public_key_file: cannot read gone"),
        ("[{name: a/b, public_key: ONE}]", "accounts.0.name"),
        ("[{public_key: ONE}]", "accounts.0.name"),
    ],
)
def test_a_bad_account_is_named(text: str, words: str) -> None:
    text = text.replace("ONE", f"'{ONE.text}'").replace("TWO", f"'{TWO.text}'")
    assert words in wrong_keys(f"accounts: {text}")


def test_a_key_file_is_read_again_and_its_last_good_keys_stay_in_force() -> None:
    path = Path("key")
    path.write_text(ONE.text)
    ring = keyring(TELNYX_PUBLIC_KEY_FILE="key")
    assert ring.reload() == []
    for content in ("", "nonsense", f"{TWO.text} {TWO.text}", f"{TWO.text},{TWO.text}"):
        path.write_text(content)
        (problem,) = ring.reload()
        assert problem.setting == "telnyx.public_key_file"
        assert ring.accounts["default"] == (ONE,)
    path.unlink()
    assert len(ring.reload()) == 1
    assert ring.accounts["default"] == (ONE,)
    path.write_text(f"{ONE.text}\n{TWO.text}")
    assert ring.reload() == []
    assert dict(ring.accounts) == {"default": (ONE, TWO)}


def test_one_bad_file_does_not_keep_the_others_from_being_read() -> None:
    for name in ("eu", "us"):
        Path(name).write_text(ONE.text)
    ring = keyring("accounts: [{name: eu, public_key_file: eu}, {name: us, public_key_file: us}]")
    Path("eu").write_text("")
    Path("us").write_text(TWO.text)
    assert [problem.setting for problem in ring.reload()] == ["accounts.eu.public_key_file"]
    assert dict(ring.accounts) == {"eu": (ONE,), "us": (TWO,)}
