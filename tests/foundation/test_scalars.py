from __future__ import annotations

import array
import datetime
from typing import Any

import pytest

from moorings.foundation import scalars


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Int8", "b"),
        ("UInt8", "B"),
        ("Int16", "h"),
        ("UInt16", "H"),
        ("Int32", "i"),
        ("UInt32", "I"),
        ("Int64", "q"),
        ("UInt64", "Q"),
        ("Single", "f"),
        ("Double", "d"),
        ("Char16", "u"),
    ],
)
def test_formats(name: str, form: str) -> None:
    kind = getattr(scalars, name)
    assert scalars.scalar_format(kind) == form
    assert kind.__origin__ in (int, float, str)


def test_what_is_no_scalar_has_no_format() -> None:
    assert scalars.scalar_format(bool) == "?"
    others: tuple[Any, ...] = (int, str, datetime.datetime, [], "B")
    for kind in others:
        assert scalars.scalar_format(kind) == ""


def test_annotation_classes_are_text() -> None:
    for kind in (scalars.BufferFormat, scalars.StructFormat, scalars.WinrtSignature):
        assert kind("i4") == "i4"
        assert isinstance(kind(), str)


def test_buffer_aliases_accept_the_usual_bytes_likes() -> None:
    for data in (b"", bytearray(), memoryview(b""), array.array("B")):
        assert isinstance(data, scalars.ReadableBuffer)
        assert isinstance(data, scalars.WriteableBuffer)
    assert not isinstance("", scalars.ReadableBuffer)
