"""Enumerations of `Windows.Storage.Streams`."""

from __future__ import annotations

from enum import IntFlag

from moorings.errors import OpenEnum

__all__ = ["ByteOrder", "FileOpenDisposition", "InputStreamOptions", "UnicodeEncoding"]


class ByteOrder(OpenEnum):
    """Which byte of a number comes first. Source: WinRT ByteOrder."""

    LITTLE_ENDIAN = 0
    BIG_ENDIAN = 1


class InputStreamOptions(IntFlag):
    """When a read is done. Source: WinRT InputStreamOptions.

    NONE waits for all bytes asked for, or the end of the stream. PARTIAL is content with one byte or more. READ_AHEAD
    lets the stream fetch more than was asked for and keep it for the next read.
    """

    NONE = 0
    PARTIAL = 1
    READ_AHEAD = 2


class UnicodeEncoding(OpenEnum):
    """How text becomes bytes. Source: WinRT UnicodeEncoding."""

    UTF8 = 0
    UTF16_L_E = 1
    UTF16_B_E = 2


class FileOpenDisposition(OpenEnum):
    """What opening does with a file that exists, or does not. Source: WinRT FileOpenDisposition."""

    OPEN_EXISTING = 0
    OPEN_ALWAYS = 1
    CREATE_NEW = 2
    CREATE_ALWAYS = 3
    TRUNCATE_EXISTING = 4
