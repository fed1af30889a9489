from __future__ import annotations

from moorings.streams.enums import ByteOrder, FileOpenDisposition, InputStreamOptions, UnicodeEncoding


def test_numbers() -> None:
    assert {member.name: int(member) for member in ByteOrder} == {"LITTLE_ENDIAN": 0, "BIG_ENDIAN": 1}
    assert {member.name: int(member) for member in UnicodeEncoding} == {"UTF8": 0, "UTF16_L_E": 1, "UTF16_B_E": 2}
    assert (InputStreamOptions.NONE, InputStreamOptions.PARTIAL, InputStreamOptions.READ_AHEAD) == (0, 1, 2)
    assert [int(member) for member in FileOpenDisposition] == [0, 1, 2, 3, 4]


def test_unknown_numbers_are_kept() -> None:
    assert ByteOrder(7) == 7
    assert InputStreamOptions(8) == 8
