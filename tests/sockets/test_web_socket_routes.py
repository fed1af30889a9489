"""Paths of a WebSocket listener: which fits, what stands in its places, and what is refused."""

from __future__ import annotations

import pytest

from moorings import errors
from moorings.sockets.web_socket_routes import Route, Routes

PATHS = ["/", "/chat", "/chat/{room}", "/chat/lobby", "/{first}/{second}", "/files/{name:path}", "/a%20b"]

FOUND = {
    "/": ("/", {}),
    "/chat": ("/chat", {}),
    "/chat/lobby": ("/chat/lobby", {}),
    "/chat/7": ("/chat/{room}", {"room": "7"}),
    "/chat/a%20b": ("/chat/{room}", {"room": "a b"}),
    "/chat/%C3%A4": ("/chat/{room}", {"room": "ä"}),
    "/chat/a%2Fb": ("/chat/{room}", {"room": "a/b"}),
    "/other/7": ("/{first}/{second}", {"first": "other", "second": "7"}),
    "/files/a/b.txt": ("/files/{name:path}", {"name": "a/b.txt"}),
    "/files/a": ("/files/{name:path}", {"name": "a"}),
    "/a%20b": ("/a%20b", {}),
}
NOT_FOUND = [
    "/nowhere",
    "/Chat",
    "/chat/",
    "/chat/7/8",
    "//chat",
    "/chat//",
    "/files/../chat",
    "/files/%2e%2E/chat",
    "/files/./x",
    "/chat/..",
    "/chat/%FF",
    "/files/",
    "/a b",
]


def made(*paths: str) -> Routes:
    routes = Routes()
    for path in paths:
        routes.add(Route(path))
    return routes


@pytest.mark.parametrize("paths", [PATHS, PATHS[::-1]])
@pytest.mark.parametrize("path", FOUND)
def test_the_route_that_fits_best_is_found(path: str, paths: list[str]) -> None:
    found = made(*paths).find(path)
    assert found is not None
    assert (found[0].path, found[1]) == FOUND[path]


@pytest.mark.parametrize("path", NOT_FOUND)
def test_paths_without_a_route(path: str) -> None:
    assert made(*PATHS).find(path) is None


@pytest.mark.parametrize(
    "path", ["", "chat", "/{room", "/{}", "/{7}", "/a{b}", "/{a:path}/b", "/{a}/{a}", "/a b", "/a?b", "/ä", "/{a:int}"]
)
def test_malformed_paths_are_refused(path: str) -> None:
    with pytest.raises(OSError, match="path of a route") as caught:
        Route(path)
    assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize(("first", "second"), [("/a", "/a"), ("/{a}", "/{b}"), ("/x/{a:path}", "/x/{b:path}")])
def test_two_routes_for_the_same_paths_are_refused(first: str, second: str) -> None:
    routes = made(first)
    with pytest.raises(OSError, match="already") as caught:
        routes.add(Route(second))
    assert caught.value.winerror == errors.E_INVALIDARG
    assert len(routes) == 1
