"""The console's two pages: the shell, and the state it asks for each second."""

from collections.abc import Callable, Mapping
from importlib import resources

import orjson

from trunkline.probe import Page, Route, split_bind

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def routes(state: Callable[[], Mapping[str, object]]) -> Mapping[str, Route]:
    html = resources.files(__package__).joinpath("page.html").read_bytes()
    shell = Page(html, "text/html; charset=utf-8")
    return {
        "/": lambda: shell,
        "/state.json": lambda: Page(orjson.dumps(state()), "application/json"),
    }


def hosts(bind: str) -> frozenset[str]:
    """The names under which the page may be asked for: loopback's, and the address set itself."""
    if bind.startswith("unix:"):
        return frozenset(_LOOPBACK)
    host, _ = split_bind("console.bind", bind)
    return frozenset((*_LOOPBACK, f"[{host}]" if ":" in host else host))


def url(address: str) -> str | None:
    """Where a browser on this machine finds what is bound to the address."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix:"):
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))  # noqa: S104  # never bound here
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
