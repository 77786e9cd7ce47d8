"""Keys must land where every other Kafka client would put them."""

import pytest
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from trunkline.stream.kafka_partitions import key_hash, murmur2


# The vectors of Kafka's own UtilsTest.testMurmur2, unsigned.
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_the_java_client(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


@given(key=st.binary(max_size=100))
def test_the_hash_agrees_with_an_independent_implementation(key: bytes) -> None:
    assert murmur2(key) == reference(key)
    assert key_hash(key) == reference(key) & 0x7FFFFFFF
