"""Pure: what a kafka:// URL may say, and how it is refused."""

import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import Misconfigured
from trunkline.stream.kafka_url import OPTIONS, Connecting, connection_options, parse

SASL = "security_protocol=SASL_PLAINTEXT&sasl_plain_username=u"


def test_one_broker_needs_nothing_but_its_name() -> None:
    address = parse("kafka://broker")
    assert address.servers == ("broker:9092",)
    assert address.security_protocol == "PLAINTEXT"


def test_brokers_are_listed_with_commas_and_ports() -> None:
    assert parse("kafka://a:1,b:65535,[::1]:7,[::2]").servers == (
        "a:1",
        "b:65535",
        "[::1]:7",
        "[::2]:9092",
    )


def test_every_option_reaches_its_place(tmp_path: Path) -> None:
    address = parse(
        "kafka://h?security_protocol=SASL_SSL&sasl_mechanism=SCRAM-SHA-512&sasl_plain_username=me"
        "&sasl_plain_password=p%26%3D%20%C3%A9&ssl_cafile=%2Fca.pem&ssl_certfile=/c&ssl_keyfile=/k"
        "&client_id=door"
    )
    assert (address.sasl_mechanism, address.username, address.password) == (
        "SCRAM-SHA-512",
        "me",
        "p&= é",
    )
    assert (address.cafile, address.certfile, address.keyfile) == (
        Path("/ca.pem"),
        Path("/c"),
        Path("/k"),
    )
    assert address.client_id == "door"
    file = tmp_path / "password"
    file.write_text(" hunter2\n")
    options = connection_options(parse(f"kafka://h?{SASL}&sasl_plain_password_file={file}"))
    assert options["sasl_plain_password"] == "hunter2"  # noqa: S105


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite:///x", "kafka://"),
        ("kafka://", "no broker"),
        ("kafka://a,,b", "no broker"),
        ("kafka://:9092", "no broker"),
        ("kafka://a:", "port"),
        ("kafka://a:0", "port"),
        ("kafka://a:65536", "port"),
        ("kafka://a:+1", "port"),
        ("kafka://a:x", "port"),
        ("kafka://a:1:2", "port"),
        ("kafka://[::1]9", "[host]:port"),
        ("kafka://a/topic", "question mark"),
        ("kafka://u:hunter2@a", "sasl_plain_username"),
        ("kafka://a?linger_ms=5", "linger_ms"),
        ("kafka://a?client_id=x&client_id=y", "twice"),
        ("kafka://a?client_id", "no value"),
        ("kafka://a?client_id=", "no value"),
        ("kafka://a?client_id=%FF", "UTF-8"),
        ("kafka://a?security_protocol=TLS", "security_protocol"),
        ("kafka://a?security_protocol=SASL_SSL&sasl_mechanism=GSSAPI", "sasl_mechanism"),
        ("kafka://a?security_protocol=SASL_SSL", "sasl_plain_username"),
        (f"kafka://a?{SASL}", "sasl_plain_password"),
        (f"kafka://a?{SASL}&sasl_plain_password=hunter2&sasl_plain_password_file=/f", "either"),
        (f"kafka://a?{SASL}&sasl_plain_password=hunter2&ssl_cafile=/f", "ssl_cafile"),
        ("kafka://a?sasl_plain_username=u", "sasl_plain_username"),
        ("kafka://a?security_protocol=SSL&ssl_keyfile=/k", "ssl_certfile"),
    ],
)
def test_anything_else_is_refused_by_name_and_without_the_secret(url: str, word: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(url)
    assert caught.value.setting == "stream"
    assert word in caught.value.problem
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        (f"{SASL}&sasl_plain_password_file=/nowhere/at/all", "sasl_plain_password_file"),
        ("security_protocol=SSL&ssl_cafile=/nowhere/at/all", "/nowhere/at/all"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(query: str, word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        connection_options(parse(f"kafka://h?{query}"))


def test_a_changed_password_file_counts_for_the_next_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first")
    connecting = Connecting(parse(f"kafka://h?{SASL}&sasl_plain_password_file={file}"))
    assert connecting.options()["sasl_plain_password"] == "first"  # noqa: S105
    file.write_text("second")
    assert connecting.options()["sasl_plain_password"] == "second"  # noqa: S105
    file.unlink()
    assert connecting.options()["sasl_plain_password"] == "second"  # noqa: S105


def test_the_password_is_not_in_the_address_as_text() -> None:
    assert "hunter2" not in repr(parse(f"kafka://h?{SASL}&sasl_plain_password=hunter2"))


@given(password=st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_a_password_of_any_characters_survives_percent_encoding(password: str) -> None:
    address = parse(f"kafka://h?{SASL}&sasl_plain_password={quote(password, safe='')}")
    assert address.password == password


@given(
    name=st.text(string.ascii_lowercase + "_", min_size=1).filter(lambda it: it not in OPTIONS),
    value=st.text(string.ascii_letters, min_size=1),
)
def test_an_unknown_option_is_always_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(f"kafka://h?{name}={value}")
    assert repr(name) in caught.value.problem


@given(text=st.text())
def test_any_text_is_either_an_address_or_misconfigured(text: str) -> None:
    try:
        address = parse("kafka://" + text)
    except Misconfigured:
        return
    assert all(server.rpartition(":")[2].isdigit() for server in address.servers)
