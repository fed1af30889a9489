"""The parts of the lab that need no virtual machine; `make lab` shows that it boots."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.docs.documents import ROOT

from tools import lab

if TYPE_CHECKING:
    from pathlib import Path


def module(directory: Path, name: str, needs: str = "") -> Path:
    path = directory / "kernel" / "net" / f"{name}.ko"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0")
    return path


def test_modules_come_behind_what_they_need(tmp_path: Path) -> None:
    tls = module(tmp_path, "tls", "crypto_a,b")
    crypto = module(tmp_path, "crypto-a", "b")
    other = module(tmp_path, "b")
    assert lab.modules_in_order(tmp_path, ["tls", "built_in", "b"]) == [other, crypto, tls]


def test_the_archive(tmp_path: Path) -> None:
    made = lab.archive([("dir", 0o40755, b""), ("dir/file", 0o100644, b"content")])
    assert made.count(b"070701") == 3
    assert len(made) % 4 == 0
    assert b"dir/file\0" in made
    assert made.index(b"content") % 4 == 0
    assert b"TRAILER!!!\0" in made


def test_the_command_keeps_environment_and_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ODD", "it's $HOME")
    monkeypatch.setenv("TMUX", "not this")
    script = lab.command_script(
        [sys.executable, "-c", "import os; print(os.environ['ODD'], os.environ['LAB'], os.getcwd())"]
    )
    assert "TMUX" not in script
    ran = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout == f"it's $HOME 1 {tmp_path}\n"
    assert shlex.quote(str(tmp_path)) in script


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lab, "QEMU", "no-such-emulator")
    monkeypatch.setattr(sys, "argv", ["lab.py", "--", "true"])
    assert lab.main() == 125
    assert capsys.readouterr().err == "lab: no-such-emulator is missing (Debian: apt install qemu-system-x86)\n"


def test_a_command_that_fails() -> None:
    with pytest.raises(lab.LabError, match="no-such-command is missing"):
        lab.run("no-such-command")
    with pytest.raises(lab.LabError, match="failed"):
        lab.run("sh", "-c", "exit 1")


def test_it_says_what_it_is_for() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "tools" / "lab.py", "--help"], check=True, capture_output=True, text=True
    )
    assert "virtual machine" in ran.stdout
