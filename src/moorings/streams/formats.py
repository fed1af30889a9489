"""How DataReader and DataWriter lay out values in bytes. Tables are indexed by ByteOrder, LITTLE_ENDIAN first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from struct import Struct

#: Python's codecs by UnicodeEncoding. They know no byte order mark, and are strict.
CODECS = ("utf-8", "utf-16-le", "utf-16-be")

#: The origin of DateTime: 1601, in ticks of 100 ns.
EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
TICKS_PER_MICROSECOND = 10
_MICROSECOND = timedelta(microseconds=1)

#: `struct` prefixes by ByteOrder, and the marks that make a prefix unnecessary.
FORMAT_PREFIXES = ("<", ">")
NATIVE_ORDER_MARKS = ("@", "=", "<", ">", "!")


def _both(code: str) -> tuple[Struct, Struct]:
    return Struct("<" + code), Struct(">" + code)


_INT16, _INT32, _INT64 = _both("h"), _both("i"), _both("q")
_UINT16, _UINT32, _UINT64 = _both("H"), _both("I"), _both("Q")
_SINGLE, _DOUBLE = _both("f"), _both("d")

UNPACK_INT16 = _INT16[0].unpack_from, _INT16[1].unpack_from
UNPACK_INT32 = _INT32[0].unpack_from, _INT32[1].unpack_from
UNPACK_INT64 = _INT64[0].unpack_from, _INT64[1].unpack_from
UNPACK_UINT16 = _UINT16[0].unpack_from, _UINT16[1].unpack_from
UNPACK_UINT32 = _UINT32[0].unpack_from, _UINT32[1].unpack_from
UNPACK_UINT64 = _UINT64[0].unpack_from, _UINT64[1].unpack_from
UNPACK_SINGLE = _SINGLE[0].unpack_from, _SINGLE[1].unpack_from
UNPACK_DOUBLE = _DOUBLE[0].unpack_from, _DOUBLE[1].unpack_from

PACK_INT16 = _INT16[0].pack, _INT16[1].pack
PACK_INT32 = _INT32[0].pack, _INT32[1].pack
PACK_INT64 = _INT64[0].pack, _INT64[1].pack
PACK_UINT16 = _UINT16[0].pack, _UINT16[1].pack
PACK_UINT32 = _UINT32[0].pack, _UINT32[1].pack
PACK_UINT64 = _UINT64[0].pack, _UINT64[1].pack
PACK_SINGLE = _SINGLE[0].pack, _SINGLE[1].pack
PACK_DOUBLE = _DOUBLE[0].pack, _DOUBLE[1].pack


def microseconds_of(ticks: int) -> int:
    """Ticks of 100 ns as microseconds, cut off towards zero."""
    return ticks // TICKS_PER_MICROSECOND if ticks >= 0 else -(-ticks // TICKS_PER_MICROSECOND)


def ticks_of(span: timedelta) -> int:
    """A length of time as ticks of 100 ns; it may be beyond 64 bits."""
    return span // _MICROSECOND * TICKS_PER_MICROSECOND
