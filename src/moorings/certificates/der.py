"""The little of DER that `cryptography` does not give as it stands: the raw names and algorithms of a certificate.

Source: X.690; RFC 5280 sections 4.1 and 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "CertificateParts",
    "DerError",
    "NameKey",
    "name_attributes",
    "name_key",
    "oid_pairs",
    "oid_text",
    "split_certificate",
    "text_of_string",
]

#: Octets of a length; four reach 4 GiB, more than any input here.
_LENGTH_OCTETS: Final = 4
#: Names with more attributes than this are refused.
NAME_ATTRIBUTES_LIMIT: Final = 256

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_OBJECT_ID: Final = 0x06
_VERSION: Final = 0xA0
#: Tags of the string types, and how their octets are read.
_STRINGS: Final = {
    12: "utf-8",
    18: "latin-1",
    19: "latin-1",
    20: "latin-1",
    22: "latin-1",
    26: "latin-1",
    28: "utf-32-be",
    30: "utf-16-be",
}

#: A distinguished name in a form that is equal where RFC 5280 section 7.1 says that the names match.
NameKey = tuple[tuple[tuple[bytes, object], ...], ...]


class DerError(ValueError):
    """These octets are no DER of the kind that was asked for."""


@dataclass(frozen=True, slots=True)
class CertificateParts:
    """The raw octets of the parts of a certificate; each with its own tag and length."""

    inner_algorithm: bytes
    outer_algorithm: bytes
    serial_number: int
    issuer: bytes
    subject: bytes
    #: The bits of the public key, without the tag and the count of unused bits: what OCSP hashes.
    public_key_bits: bytes
    key_algorithm_oid: str
    #: The public key with its algorithm (SubjectPublicKeyInfo): what a pin is the digest of.
    public_key_info: bytes


def _read(data: bytes, start: int, end: int) -> tuple[int, int, int]:
    """The tag at *start*, and where its contents begin and end."""
    if end - start < 2:
        raise DerError("the octets end within a tag")
    tag, length = data[start], data[start + 1]
    body = start + 2
    if tag & 0x1F == 0x1F:
        raise DerError("tags of more than one octet are not used in certificates")
    if length & 0x80:
        octets = length & 0x7F
        if not 0 < octets <= _LENGTH_OCTETS or end - body < octets:
            raise DerError("the length is not DER")
        length = int.from_bytes(data[body : body + octets], "big")
        body += octets
    if length > end - body:
        raise DerError("the octets end within a value")
    return tag, body, body + length


def _children(data: bytes, start: int, end: int, expected: int) -> list[tuple[int, int, int, int]]:
    """Tag, start, start of the contents and end of each value in the constructed value at *start*."""
    tag, position, stop = _read(data, start, end)
    if tag != expected:
        raise DerError(f"tag {expected:#04x} was expected, not {tag:#04x}")
    found: list[tuple[int, int, int, int]] = []
    while position < stop:
        child, body, after = _read(data, position, stop)
        found.append((child, position, body, after))
        position = after
    return found


def split_certificate(data: bytes) -> CertificateParts:
    """The parts of a certificate in DER. Errors: DerError."""
    outer = _children(data, 0, len(data), _SEQUENCE)
    if len(outer) != 3:
        raise DerError("a certificate has three parts")
    (_, tbs, _, tbs_end), (_, algorithm, _, algorithm_end), _ = outer
    inner = _children(data, tbs, tbs_end, _SEQUENCE)
    if inner and inner[0][0] == _VERSION:
        del inner[0]
    if len(inner) < 6:
        raise DerError("the signed part of a certificate has six parts or more")
    pieces = [data[start:end] for _, start, _, end in inner]
    key_parts = _children(pieces[5], 0, len(pieces[5]), _SEQUENCE)
    if len(key_parts) != 2:
        raise DerError("a public key is an algorithm and bits")
    return CertificateParts(
        inner_algorithm=pieces[1],
        outer_algorithm=data[algorithm:algorithm_end],
        serial_number=int.from_bytes(data[inner[0][2] : inner[0][3]], "big", signed=True),
        issuer=pieces[2],
        subject=pieces[4],
        key_algorithm_oid=_first_oid(pieces[5], key_parts[0]),
        public_key_bits=pieces[5][key_parts[1][2] + 1 : key_parts[1][3]],
        public_key_info=pieces[5],
    )


def _first_oid(data: bytes, part: tuple[int, int, int, int]) -> str:
    """The object identifier that a sequence starts with."""
    inner = _children(data, part[1], part[3], _SEQUENCE)
    if not inner or inner[0][0] != _OBJECT_ID:
        raise DerError("an algorithm starts with an object identifier")
    return oid_text(data[inner[0][2] : inner[0][3]])


def name_attributes(name: bytes) -> list[list[tuple[bytes, object]]]:
    """The attributes of a distinguished name in DER, one list for each relative name.

    An attribute is the octets of its object identifier and its value: text where the type is one of text, else octets.
    Errors: DerError.
    """
    found: list[list[tuple[bytes, object]]] = []
    count = 0
    for _, start, _, end in _children(name, 0, len(name), _SEQUENCE):
        relative: list[tuple[bytes, object]] = []
        for _, pair, _, pair_end in _children(name, start, end, _SET):
            parts = _children(name, pair, pair_end, _SEQUENCE)
            if len(parts) != 2 or parts[0][0] != _OBJECT_ID:
                raise DerError("an attribute is an object identifier and a value")
            (_, _, oid, oid_end), (tag, whole, value, value_end) = parts
            encoding = _STRINGS.get(tag)
            try:
                content: object = name[whole:value_end] if encoding is None else name[value:value_end].decode(encoding)
            except UnicodeDecodeError:
                content = name[whole:value_end]
            relative.append((name[oid:oid_end], content))
            count += 1
            if count > NAME_ATTRIBUTES_LIMIT:
                raise DerError(f"the name has more than {NAME_ATTRIBUTES_LIMIT} attributes")
        found.append(relative)
    return found


def _folded(value: object) -> object:
    """A value for comparing: without case in ASCII, with single spaces, as OpenSSL and RFC 4518 have it."""
    if not isinstance(value, str):
        return value
    text = "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in value)
    return " ".join(part for part in text.replace("\t", " ").replace("\n", " ").split(" ") if part)


def name_key(name: bytes) -> NameKey:
    """The form of a distinguished name in DER that is equal for names that match. Errors: DerError."""
    return tuple(
        tuple(sorted(((oid, _folded(value)) for oid, value in relative), key=repr))
        for relative in name_attributes(name)
    )


def oid_text(contents: bytes) -> str:
    """The dotted form of the contents of an object identifier. Errors: DerError."""
    if not contents or contents[-1] & 0x80:
        raise DerError("the object identifier ends within a number")
    numbers: list[int] = []
    number = 0
    for octet in contents:
        number = number << 7 | octet & 0x7F
        if number >> 128:
            raise DerError("the object identifier has a number beyond 128 bits")
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(part) for part in (first, numbers[0] - 40 * first, *numbers[1:]))


def oid_pairs(data: bytes) -> list[tuple[str, str]]:
    """The pairs of a SEQUENCE OF SEQUENCE of two object identifiers, such as PolicyMappings. Errors: DerError."""
    pairs: list[tuple[str, str]] = []
    for _, start, _, end in _children(data, 0, len(data), _SEQUENCE):
        parts = _children(data, start, end, _SEQUENCE)
        if len(parts) != 2 or any(tag != _OBJECT_ID for tag, _, _, _ in parts):
            raise DerError("a mapping is two object identifiers")
        first, second = (oid_text(data[body:stop]) for _, _, body, stop in parts)
        pairs.append((first, second))
    return pairs


def text_of_string(data: bytes) -> str:
    """The text of a string type in DER; "" for other types and broken text. Errors: DerError."""
    tag, body, end = _read(data, 0, len(data))
    encoding = _STRINGS.get(tag)
    return "" if encoding is None else data[body:end].decode(encoding, "ignore")
