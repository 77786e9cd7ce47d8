"""Reads what a stream holds at this moment, for commands that look and end."""

from collections.abc import Callable, Sequence

from trunkline.cli.progress import Progress
from trunkline.cli.wiring import embedded, sqlite_path
from trunkline.errors import NotReachable
from trunkline.settings import Settings
from trunkline.stream import Delivery, Start, Stream

_FETCH_RECORDS_MAX = 2_000
_FETCH_SECONDS = 0.5
_EMPTY_MAX = 10  # fetches in vain, after which what is left is taken for a gap


def require_stream(settings: Settings) -> None:
    """Opening an embedded stream would make it; who only looks must not."""
    if embedded(settings):
        path = sqlite_path(settings.stream.partition("://")[2])
        if not path.exists():
            raise NotReachable(
                f"there is no stream at {path.resolve()} yet; `trunkline up` or `trunkline ingest` "
                "makes it, and TRUNKLINE_STREAM says where it is"
            )


async def read_all(
    stream: Stream, topics: Sequence[str], doing: str, take: Callable[[Delivery], None]
) -> None:
    """Everything kept, up to the ends as they are now, in order within each partition."""
    ends = await stream.ends(topics)
    left = {place for place, (first, following) in ends.items() if first < following}
    total = sum(following - first for first, following in ends.values())
    subscription = await stream.subscribe(topics, Start.EARLIEST)
    try:
        with Progress(doing, total) as progress:
            empty = 0
            while left and empty < _EMPTY_MAX:
                batch = await subscription.fetch(_FETCH_RECORDS_MAX, _FETCH_SECONDS)
                empty = 0 if batch else empty + 1
                for delivery in batch:
                    place = delivery.topic, delivery.partition
                    end = ends.get(place, (0, 0))[1]
                    if delivery.offset + 1 >= end:
                        left.discard(place)
                    if delivery.offset < end:
                        take(delivery)
                        progress.advance()
        if left:
            # A transaction's marker is nothing to read; a broker that is away says so here.
            await stream.ends(topics)
    finally:
        await subscription.close()
