"""Which partition a key belongs to: Kafka's own hash, so every other client agrees."""

from functools import lru_cache
from struct import unpack_from

SEED = 0x9747B28C
MULTIPLIER = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """32-bit murmur2 as in Kafka's Java client, before the sign bit is dropped."""
    length = len(key)
    words = length // 4
    hashed = SEED ^ length
    for word in unpack_from(f"<{words}I", key):
        mixed = word * MULTIPLIER & MASK
        mixed = (mixed ^ mixed >> 24) * MULTIPLIER & MASK
        hashed = hashed * MULTIPLIER & MASK ^ mixed
    rest = key[words * 4 :]
    if rest:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * MULTIPLIER & MASK
    hashed = (hashed ^ hashed >> 13) * MULTIPLIER & MASK
    return hashed ^ hashed >> 15


# A call sends many events under one key, and hashing in Python costs more than the rest of finding
# the partition. 65,536 keys are about 10 MB at most.
@lru_cache(maxsize=65_536)
def key_hash(key: bytes) -> int:
    """Modulo the number of partitions this is the partition."""
    return murmur2(key) & 0x7FFFFFFF
