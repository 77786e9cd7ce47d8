"""Gives partitions back: the member gets a bounded time to finish, and is told when it is up."""

import asyncio
import logging
from collections.abc import Collection

from trunkline.stream import Member, Place

_log = logging.getLogger("trunkline.stream")

# For what a member does on being cancelled.
_CANCELLED_SECONDS = 1.0


async def let_go(member: Member, places: Collection[Place], seconds: float) -> None:
    """Cancelled, it cancels the member's part and tells it nothing."""
    revoking = asyncio.ensure_future(member.revoked(places))
    try:
        await asyncio.wait({revoking}, timeout=seconds)
    except asyncio.CancelledError:
        revoking.cancel()
        raise
    if not revoking.done():
        _log.warning("%d partitions were not let go within %.0f s", len(places), seconds)
        revoking.cancel()
        await asyncio.wait({revoking}, timeout=_CANCELLED_SECONDS)
        member.lost(places)
    elif revoking.cancelled() or revoking.exception() is not None:
        _log.error("partitions were let go of with an error", exc_info=_error(revoking))
        member.lost(places)


def _error(revoking: "asyncio.Future[None]") -> BaseException | None:
    return None if revoking.cancelled() else revoking.exception()
