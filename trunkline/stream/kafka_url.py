"""What a kafka:// URL says: brokers, credentials, certificates; pure until files are read."""

import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from trunkline.errors import Misconfigured

SETTING = "stream"
SCHEME = "kafka://"
PORT_DEFAULT = 9092
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
OPTIONS = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_plain_password_file",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
    "client_id",
)


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    servers: tuple[str, ...]
    client_id: str = "trunkline"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None


def parse(url: str) -> KafkaAddress:
    """Raises Misconfigured naming what is wrong, and never repeats a secret."""
    if not url.startswith(SCHEME):
        raise Misconfigured(SETTING, f"a Kafka stream starts with {SCHEME}")
    hosts, _, query = url.removeprefix(SCHEME).partition("?")
    options = _options(query)
    address = KafkaAddress(
        servers=_servers(hosts),
        client_id=options.get("client_id", "trunkline"),
        security_protocol=options.get("security_protocol", "PLAINTEXT"),
        sasl_mechanism=options.get("sasl_mechanism", "PLAIN"),
        username=options.get("sasl_plain_username"),
        password=options.get("sasl_plain_password"),
        password_file=_path(options, "sasl_plain_password_file"),
        cafile=_path(options, "ssl_cafile"),
        certfile=_path(options, "ssl_certfile"),
        keyfile=_path(options, "ssl_keyfile"),
    )
    _agree(address, options)
    return address


def connection_options(address: KafkaAddress) -> dict[str, Any]:
    """The address as every client of aiokafka takes it; reads the files it names."""
    sasl = address.security_protocol.startswith("SASL_")
    password = _read(address.password_file) if address.password_file else address.password
    return {
        "bootstrap_servers": list(address.servers),
        "client_id": address.client_id,
        "security_protocol": address.security_protocol,
        "ssl_context": _ssl_context(address) if "SSL" in _words(address) else None,
        "sasl_mechanism": address.sasl_mechanism,
        "sasl_plain_username": address.username if sasl else None,
        "sasl_plain_password": password if sasl else None,
    }


class Connecting:
    """The options for the next connection: its files are read again, as passwords change.

    What can no longer be read leaves the last good options in force.
    """

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._options = connection_options(address)

    def options(self) -> dict[str, Any]:
        with contextlib.suppress(Misconfigured):
            self._options = connection_options(self._address)
        return self._options


def _servers(text: str) -> tuple[str, ...]:
    if "@" in text:
        raise Misconfigured(SETTING, "give credentials as sasl_plain_username and _password")
    if "/" in text:
        raise Misconfigured(SETTING, "only brokers stand between kafka:// and the question mark")
    return tuple(_server(server) for server in text.split(","))


def _server(text: str) -> str:
    host, bracket, rest = text.partition("]") if text.startswith("[") else ("", "", "")
    if bracket:
        host, port = f"{host}]", rest.removeprefix(":") if rest else str(PORT_DEFAULT)
        if rest and not rest.startswith(":"):
            raise Misconfigured(SETTING, f"{text!r} is not [host]:port")
    else:
        host, colon, port = text.partition(":")
        port = port if colon else str(PORT_DEFAULT)
    if host in ("", "[]") or any(letter.isspace() or letter == "%" for letter in host):
        raise Misconfigured(SETTING, f"{text!r} names no broker")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):  # noqa: PLR2004
        raise Misconfigured(SETTING, f"{text!r} has no port between 1 and 65535")
    return f"{host}:{int(port)}"


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        if name not in OPTIONS:
            raise Misconfigured(SETTING, f"no such option of a Kafka stream: {unquote(name)!r}")
        if name in options:
            raise Misconfigured(SETTING, f"{name} is given twice")
        if not equals or not value:
            raise Misconfigured(SETTING, f"{name} has no value")
        try:
            options[name] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise Misconfigured(SETTING, f"{name} is not percent-encoded UTF-8") from None
    return options


def _path(options: Mapping[str, str], name: str) -> Path | None:
    return Path(options[name]) if name in options else None


def _words(address: KafkaAddress) -> list[str]:
    return address.security_protocol.split("_")


def _agree(address: KafkaAddress, options: Mapping[str, str]) -> None:
    if address.security_protocol not in PROTOCOLS:
        raise Misconfigured(SETTING, f"security_protocol must be one of {', '.join(PROTOCOLS)}")
    if address.sasl_mechanism not in MECHANISMS:
        raise Misconfigured(SETTING, f"sasl_mechanism must be one of {', '.join(MECHANISMS)}")
    words = _words(address)
    for prefix in ("sasl", "ssl"):
        stray = [name for name in options if name.startswith(f"{prefix}_")]
        if stray and prefix.upper() not in words:
            raise Misconfigured(
                SETTING, f"{stray[0]} needs a security_protocol with {prefix.upper()}"
            )
    if address.password is not None and address.password_file is not None:
        raise Misconfigured(SETTING, "set either sasl_plain_password or sasl_plain_password_file")
    if "SASL" in words and address.username is None:
        raise Misconfigured(SETTING, "SASL needs sasl_plain_username")
    if "SASL" in words and address.password is None and address.password_file is None:
        raise Misconfigured(SETTING, "SASL needs sasl_plain_password or sasl_plain_password_file")
    if address.keyfile is not None and address.certfile is None:
        raise Misconfigured(SETTING, "ssl_keyfile needs ssl_certfile")


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(SETTING, f"sasl_plain_password_file: {error}") from None
    if not text:
        raise Misconfigured(SETTING, f"sasl_plain_password_file: {path} is empty")
    return text


def _ssl_context(address: KafkaAddress) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.cafile)
        if address.certfile is not None:
            context.load_cert_chain(address.certfile, address.keyfile)
    except (OSError, ssl.SSLError) as error:
        files = [str(p) for p in (address.cafile, address.certfile, address.keyfile) if p]
        raise Misconfigured(SETTING, f"{', '.join(files)}: {error}") from None
    return context
