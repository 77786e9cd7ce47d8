"""What a store is: named objects, each written whole, once and for good."""

from typing import Protocol

from trunkline.errors import TrunklineError


class StoreUnavailable(TrunklineError):
    """The store's, or its disk's: try again later."""


class Store(Protocol):
    """Names are relative, parts separated by `/`. Every call may raise StoreUnavailable.

    A call that raised, or was cancelled, may still take effect.
    """

    async def put_absent(self, name: str, data: bytes) -> bool:
        """Durably there under this name when it returns: this data (True), or what was (False).

        Nobody ever sees a part of it, and what is there never changes.
        """

    async def read(self, name: str) -> bytes | None:
        """None if there is no such object."""

    async def names(self, folder: str) -> list[str]:
        """The last parts of the names directly in a folder, in no order."""
