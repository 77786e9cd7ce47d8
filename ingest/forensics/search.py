"""Tries keys over what came, and then over what may have been sent, until one fits. Pure."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from ingest.forensics import tampering
from ingest.forensics.claims import Claim
from trunkline.keys import Keys, PublicKey, verify

_KEYS_MAX = 32
_PAIRS_MAX = 6
# Guesses are tried with so many keys only: 4 times 56 verifies are the bound of all guessing.
_GUESSED_KEYS_MAX = 4


class AccountKey(NamedTuple):
    account: str
    key: PublicKey


class Match(NamedTuple):
    """What turned out to be a valid signature, and over what."""

    signature: Claim
    timestamp: Claim
    signed_timestamp: bytes
    key: AccountKey
    guess: tampering.Guess | None


def ordered_keys(accounts: Mapping[str, Keys], account: str | None, now: float) -> list[AccountKey]:
    """The account's own keys first, those in force before the others."""
    every = [AccountKey(name, key) for name, keys in accounts.items() for key in keys]
    every.sort(key=lambda one: (one.account != account, not one.key.in_force(now)))
    return every[:_KEYS_MAX]


class Search:
    """Verifies what was received, and then what may have been sent, until something fits."""

    def __init__(
        self, signatures: list[Claim], timestamps: list[Claim], keys: list[AccountKey], body: bytes
    ) -> None:
        self.signatures = signatures
        self.timestamps = timestamps
        self.verifications = 0
        self._keys = keys
        self._body = body

    @property
    def complete(self) -> bool:
        return bool(self.signatures and self.timestamps)

    def run(self) -> Match | None:
        pairs = [*islice(self._pairs(), _PAIRS_MAX)]
        received = self._try(None, self._keys, pairs)
        if received or not pairs:
            return received
        # Flawed headers and a changed body at once: only the likeliest reading of the headers.
        likeliest = pairs[:1]
        for guess in tampering.guesses(self._body):
            match = self._try(guess, self._keys[:_GUESSED_KEYS_MAX], likeliest)
            if match:
                return match
        return None

    def _pairs(self) -> Iterator[tuple[Claim, Claim, bytes]]:
        for signature in self.signatures:
            for timestamp in self.timestamps:
                # Repaired first; but it may also have been signed just as odd as it looks.
                for text in dict.fromkeys((timestamp.value, timestamp.text)):
                    if signature.value is not None and text is not None:
                        yield signature, timestamp, text

    def _try(
        self,
        guess: tampering.Guess | None,
        keys: list[AccountKey],
        pairs: list[tuple[Claim, Claim, bytes]],
    ) -> Match | None:
        body = guess.body if guess else self._body
        if len(body) > tampering.BODY_BYTES_MAX:
            return None
        for one in keys:
            for signature, timestamp, text in pairs:
                self.verifications += 1
                if verify(one.key, signature.value or b"", text, body):
                    return Match(signature, timestamp, text, one, guess)
        return None
