"""Where programs listen: only in a directory that is theirs alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from moorings.monitoring import directory as directories
from moorings.monitoring.directory import Place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """XDG_RUNTIME_DIR and the fallback, both in a temporary directory."""
    runtime, fallback = tmp_path / "run", tmp_path / "tmp"
    runtime.mkdir(mode=0o700)
    fallback.mkdir(mode=0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(directories, "_FALLBACK", str(fallback))
    return runtime, fallback


def listen(directory: Path | None = None) -> Path:
    listening, path = directories.open_listener(directory)
    listening.close()
    return path


def test_the_runtime_directory_is_the_usual_one(usual: tuple[Path, Path]) -> None:
    runtime, fallback = usual
    assert listen() == runtime / "moorings" / "monitor" / f"{os.getpid()}-0.sock"
    assert stat.S_IMODE((runtime / "moorings").stat().st_mode) == 0o700
    assert directories.usual_directories() == [
        runtime / "moorings" / "monitor",
        fallback / f"moorings-{os.getuid()}" / "monitor",
    ]


@pytest.mark.parametrize("value", ["", "relative", "/nonexistent/at/all"])
def test_without_a_runtime_directory(value: str, usual: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    place = usual[1] / f"moorings-{os.getuid()}" / "monitor"
    assert directories.usual_directories() == [place]
    assert listen().parent == place
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700


def test_a_runtime_directory_that_cannot_be_used(usual: tuple[Path, Path]) -> None:
    (usual[0] / "moorings").symlink_to(usual[1])
    assert listen().is_relative_to(usual[1])


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_a_directory_that_others_may_enter_is_refused(mode: int, tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(PermissionError, match=f"mode 0{mode:o}, it must be 0700"):
        listen(place)
    with pytest.raises(PermissionError):
        list(directories.places(place))
    assert list(place.iterdir()) == []


def test_the_parent_is_checked_as_well(usual: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    (parent := usual[1] / f"moorings-{os.getuid()}").mkdir()
    parent.chmod(0o777)
    with pytest.raises(PermissionError):
        listen()


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        listen(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        listen(tmp_path / "file")


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="somebody else"):
        listen(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_root_may_look_but_not_change(tmp_path: Path) -> None:
    path = listen(tmp_path)
    os.chown(tmp_path, 12345, 12345)
    (place,) = directories.places(tmp_path)
    assert place.path == path
    with socket.socket(socket.AF_UNIX) as client:
        assert directories.connect(client, place) == errno.ECONNREFUSED
    gone = Place(path.rename(path.with_name("4194305-0.sock")), 4194305)  # no process id on Linux is that high
    assert directories.remove_if_dead(gone)
    assert gone.path.exists()
    with pytest.raises(PermissionError, match="somebody else"):
        listen(tmp_path)


def test_a_missing_parent_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        listen(tmp_path / "a" / "b")


def test_long_paths_and_taken_names(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 200)
    numbers = [int(listen(place).stem.partition("-")[2]) for _ in range(3)]
    assert numbers == [0, 1, 2]


def test_the_number_of_monitors_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "MONITOR_LIMIT", 1)
    listen(tmp_path)
    with pytest.raises(OSError, match="1 monitors") as caught:
        listen(tmp_path)
    assert caught.value.errno == errno.EADDRINUSE


def test_places_are_those_with_a_name_of_ours(tmp_path: Path) -> None:
    good = ["1-0.sock", "4711-12.sock"]
    for name in [*good, "0-1.sock", "1.sock", "x-1.sock", "1-1.sock.bak", "1-1.sock\n", "-1-0.sock", "٣-0.sock"]:
        (tmp_path / name).touch()
    assert [(place.path.name, place.pid) for place in directories.places(tmp_path)] == [(good[0], 1), (good[1], 4711)]
    with pytest.raises(FileNotFoundError):
        list(directories.places(tmp_path / "none"))


def test_only_sockets_are_connected_to(tmp_path: Path) -> None:
    (tmp_path / "1-0.sock").touch()
    (tmp_path / "2-0.sock").symlink_to("/run/something")
    with socket.socket(socket.AF_UNIX) as client:
        assert directories.connect(client, Place(tmp_path / "1-0.sock", 1)) == errno.ENOTSOCK
        assert directories.connect(client, Place(tmp_path / "2-0.sock", 2)) == errno.ENOTSOCK
