"""Public keys: what a valid one is, which are in force when, and the one door to libsodium."""

import base64
import binascii
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError
from pydantic import TypeAdapter, ValidationError

from trunkline.clock import parse_rfc3339
from trunkline.config import read_secret
from trunkline.errors import Misconfigured
from trunkline.settings import Credentials, PublicKeyEntry, PublicKeys, Settings

DEFAULT_ACCOUNT = "default"
SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32
_FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class PublicKey:
    raw: bytes
    text: str
    not_before: float = -_FOREVER
    not_after: float = _FOREVER

    @property
    def name(self) -> str:
        """Short enough for a metric label and a log line, long enough to tell keys apart."""
        return self.text[:8]

    def in_force(self, now: float) -> bool:
        return self.not_before <= now <= self.not_after


Keys = tuple[PublicKey, ...]


def verify(key: PublicKey, signature: bytes, timestamp: bytes, body: bytes) -> bool:
    """Whether this key signed `timestamp|body`, the two exactly as they were received."""
    # PyNaCl binds no detached verify: it wants the signature and the message in one piece.
    try:
        crypto_sign_open(b"".join((signature, timestamp, b"|", body)), key.raw)
    except BadSignatureError:
        return False
    return True


def decode_signature(text: bytes) -> bytes | None:
    """The 64 bytes, or None unless the text is their one canonical base64 form."""
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    if len(raw) != SIGNATURE_BYTES or binascii.b2a_base64(raw, newline=False) != text:
        return None
    return raw


class DevelopmentKey:
    """A private key born with the process, for signing synthetic webhooks; it is never stored."""

    def __init__(self, seed: bytes | None = None) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed or os.urandom(32))
        self.public = PublicKey(public, base64.b64encode(public).decode())

    def sign(self, timestamp: str, body: bytes) -> str:
        message = timestamp.encode() + b"|" + body
        return base64.b64encode(crypto_sign(message, self._secret)[:SIGNATURE_BYTES]).decode()


def parse_key(setting: str, entry: PublicKeyEntry) -> PublicKey:
    try:
        raw = base64.b64decode(entry.key, validate=True)
    except (binascii.Error, ValueError):
        raise Misconfigured(setting, f"{entry.key[:12]!r}… is not base64") from None
    if len(raw) != PUBLIC_KEY_BYTES:
        raise Misconfigured(setting, f"a public key is 32 bytes in base64, this is {len(raw)}")
    if not crypto_core_ed25519_is_valid_point(raw):
        # A key of small order accepts signatures that anybody can make.
        raise Misconfigured(setting, f"{entry.key} is not a safe Ed25519 point (small order?)")
    limits = {}
    for name in ("not_before", "not_after"):
        text = getattr(entry, name)
        try:
            if text is not None:
                limits[name] = parse_rfc3339(text)
        except ValueError as error:
            raise Misconfigured(f"{setting}.{name}", str(error)) from None
    return PublicKey(raw, base64.b64encode(raw).decode(), **limits)


_entries: TypeAdapter[tuple[PublicKeyEntry, ...]] = TypeAdapter(PublicKeys)


def parse_keys(setting: str, text: str) -> Keys:
    """Keys as a secret file holds them: `KEY[;not_before=…][;not_after=…]`, by line or comma."""
    try:
        entries = _entries.validate_python(text)
    except ValidationError as error:
        raise Misconfigured(setting, error.errors()[0]["msg"]) from None
    return _distinct(setting, (parse_key(setting, entry) for entry in entries))


def _distinct(setting: str, keys: Iterable[PublicKey]) -> Keys:
    found = tuple(keys)
    if not found:
        raise Misconfigured(setting, "holds no public key")
    if len({key.raw for key in found}) < len(found):
        raise Misconfigured(setting, "holds the same key twice")
    return found


class Keyring:
    """The keys of every account, replaced whole when a key file changes."""

    def __init__(self, keys: Mapping[str, Keys], files: Mapping[str, tuple[str, Path]]) -> None:
        self._keys = dict(keys)
        self._files = dict(files)
        self._texts: dict[str, str] = {}

    @classmethod
    def of(cls, settings: Settings) -> "Keyring":
        """Raises Misconfigured unless every account has at least one good key."""
        keys: dict[str, Keys] = {}
        files: dict[str, tuple[str, Path]] = {}
        sources: list[tuple[str, str, Credentials]] = [
            (f"accounts.{account.name}", account.name, account) for account in settings.accounts
        ]
        telnyx = settings.telnyx
        if telnyx.public_key or telnyx.public_key_file or not sources:
            sources.insert(0, ("telnyx", DEFAULT_ACCOUNT, telnyx))
        for where, name, credentials in sources:
            if name in keys:
                raise Misconfigured(where, f"the account {name!r} is set twice")
            keys[name] = _keys_of(where, credentials)
            if credentials.public_key_file:
                files[name] = (f"{where}.public_key_file", credentials.public_key_file)
        return cls(keys, files)

    @property
    def accounts(self) -> Mapping[str, Keys]:
        return self._keys

    def account_of_bare_path(self) -> str | None:
        """Who `/webhooks/telnyx` without a name stands for: the default, or the only one."""
        if DEFAULT_ACCOUNT in self._keys:
            return DEFAULT_ACCOUNT
        return next(iter(self._keys)) if len(self._keys) == 1 else None

    def reload(self) -> list[Misconfigured]:
        """Read the key files again; a bad one is reported and its last good keys stay in force."""
        problems = []
        for account, (setting, path) in self._files.items():
            try:
                text = read_secret(setting, path)
                if text != self._texts.get(account):
                    self._keys[account] = parse_keys(setting, text)
                    self._texts[account] = text
            except Misconfigured as problem:
                problems.append(problem)
        return problems


def _keys_of(where: str, credentials: Credentials) -> Keys:
    setting = f"{where}.public_key"
    if credentials.public_key and credentials.public_key_file:
        raise Misconfigured(setting, "set either public_key or public_key_file, not both")
    if credentials.public_key_file:
        setting = f"{where}.public_key_file"
        return parse_keys(setting, read_secret(setting, credentials.public_key_file))
    if not credentials.public_key:
        hint = " (TELNYX_PUBLIC_KEY)" if where == "telnyx" else ""
        raise Misconfigured(
            setting + hint,
            "no public key is set; without one no webhook can be proven. Find it in the Telnyx "
            "portal under Keys & Credentials > Public Key",
        )
    return _distinct(setting, (parse_key(setting, entry) for entry in credentials.public_key))
