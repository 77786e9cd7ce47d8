"""The unit of cost: one Ed25519 verify by libsodium over the very bodies that are sent."""

import time
from collections.abc import Sequence

from nacl.bindings import crypto_sign_open

from bench.traffic import messages
from trunkline.keys import DevelopmentKey, decode_signature

_ROUNDS = 1_500


class Unit:
    def __init__(self, key: DevelopmentKey, wires: Sequence[bytes]) -> None:
        self._key = key.public.raw
        self._signed = [
            b"".join((decode_signature(signature) or b"", timestamp, b"|", body))
            for signature, timestamp, body in messages(wires)
        ]
        self.seen: list[float] = []

    def measure(self) -> float:
        """Seconds of CPU for one verify, now."""
        signed, key, count = self._signed, self._key, len(self._signed)
        started = time.thread_time()
        for number in range(_ROUNDS):
            crypto_sign_open(signed[number % count], key)
        self.seen.append((time.thread_time() - started) / _ROUNDS)
        return self.seen[-1]
