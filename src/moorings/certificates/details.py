"""What a certificate says about its key and its names: `CertificateKeyUsages`, `SubjectAlternativeNameInfo`, ..."""

# pyright: reportPrivateUsage=false
# The functions below the classes make their objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings.foundation.projection import Object, check_str, final
from moorings.foundation.scalars import UInt8
from moorings.foundation.vectors import Vector, VectorView
from moorings.foundation.winrt_array import Array
from moorings.streams.views import bytes_view

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

    from moorings.foundation.scalars import ReadableBuffer

__all__ = ["CertificateExtension", "CertificateKeyUsages", "SubjectAlternativeNameInfo"]

_ALTERNATIVE_NAME = "2.5.29.17"
_UTF8_STRING = 12


def bytes_array(data: bytes) -> Array[int]:
    """An array of octets, as WinRT's methods return it."""
    return Array[int](UInt8, data)


@final
class CertificateKeyUsages(Object):
    """What the key of a certificate may be used for; all False where the certificate does not restrict it.

    Source: WinRT CertificateKeyUsages; RFC 5280 section 4.2.1.3.
    """

    __slots__ = (
        "__weakref__",
        "crl_sign",
        "data_encipherment",
        "digital_signature",
        "encipher_only",
        "key_agreement",
        "key_certificate_sign",
        "key_encipherment",
        "non_repudiation",
    )
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.CertificateKeyUsages"

    def __init__(self) -> None:
        self.crl_sign = False
        self.data_encipherment = False
        self.digital_signature = False
        self.encipher_only = False
        self.key_agreement = False
        self.key_certificate_sign = False
        self.key_encipherment = False
        self.non_repudiation = False


@final
class CertificateExtension(Object):
    """One extension of a certificate: its object identifier, its value in DER, and whether it is critical.

    Source: WinRT CertificateExtension.
    """

    __slots__ = ("__weakref__", "_object_id", "_value", "is_critical")
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.CertificateExtension"

    def __init__(self) -> None:
        self._object_id = ""
        self._value = b""
        self.is_critical = False

    @property
    def object_id(self) -> str:
        """The object identifier in dotted form; "" at first. Setting anything but a str is a TypeError."""
        return self._object_id

    @object_id.setter
    def object_id(self, value: str) -> None:
        self._object_id = check_str(value, "object_id")

    @property
    def value(self) -> Array[int]:
        """The octets of the value, a copy; set it with any bytes-like object."""
        return bytes_array(self._value)

    @value.setter
    def value(self, value: Array[int] | ReadableBuffer) -> None:
        self._value = bytes(bytes_view(value, "value"))

    def encode_value(self, value: str, /) -> None:
        """Make the text the value, as a UTF8String in DER. TypeError for anything but a str."""
        octets = check_str(value, "value").encode()
        size = len(octets)
        length = bytes((size,)) if size < 0x80 else _long_length(size)
        self._value = bytes((_UTF8_STRING,)) + length + octets


def _long_length(size: int) -> bytes:
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def _check_text(value: Any) -> str:
    return check_str(value, "the name")


@final
class SubjectAlternativeNameInfo(Object):
    """The names of a certificate's subject by kind. The plural members are lists that may be changed, the singular ones
    views of them; those of a `Certificate` are its names, and changing them changes nothing else.

    Source: WinRT SubjectAlternativeNameInfo; RFC 5280 section 4.2.1.6.
    """

    __slots__ = (
        "__weakref__",
        "_distinguished_names",
        "_dns_names",
        "_email_names",
        "_extension",
        "_ip_addresses",
        "_principal_names",
        "_urls",
    )
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.SubjectAlternativeNameInfo"

    def __init__(self) -> None:
        self._distinguished_names = Vector[str]((), _check_text)
        self._dns_names = Vector[str]((), _check_text)
        self._email_names = Vector[str]((), _check_text)
        self._ip_addresses = Vector[str]((), _check_text)
        self._principal_names = Vector[str]((), _check_text)
        self._urls = Vector[str]((), _check_text)
        self._extension = CertificateExtension()
        self._extension.object_id = _ALTERNATIVE_NAME

    @property
    def distinguished_name(self) -> Sequence[str]:
        """Directory names, as RFC 4514 writes them."""
        return VectorView(self._distinguished_names)

    @property
    def dns_name(self) -> Sequence[str]:
        """DNS names, wildcards included."""
        return VectorView(self._dns_names)

    @property
    def email_name(self) -> Sequence[str]:
        """Addresses of e-mail."""
        return VectorView(self._email_names)

    @property
    def ip_address(self) -> Sequence[str]:
        """IPv4 and IPv6 addresses."""
        return VectorView(self._ip_addresses)

    @property
    def principal_name(self) -> Sequence[str]:
        """User principal names (an "other name" of Microsoft)."""
        return VectorView(self._principal_names)

    @property
    def url(self) -> Sequence[str]:
        """Uniform resource identifiers."""
        return VectorView(self._urls)

    @property
    def distinguished_names(self) -> MutableSequence[str]:
        """As `distinguished_name`, to be changed."""
        return self._distinguished_names

    @property
    def dns_names(self) -> MutableSequence[str]:
        """As `dns_name`, to be changed."""
        return self._dns_names

    @property
    def email_names(self) -> MutableSequence[str]:
        """As `email_name`, to be changed."""
        return self._email_names

    @property
    def ip_addresses(self) -> MutableSequence[str]:
        """As `ip_address`, to be changed."""
        return self._ip_addresses

    @property
    def principal_names(self) -> MutableSequence[str]:
        """As `principal_name`, to be changed."""
        return self._principal_names

    @property
    def urls(self) -> MutableSequence[str]:
        """As `url`, to be changed."""
        return self._urls

    @property
    def extension(self) -> CertificateExtension:
        """The extension in which the names stood; without value where there was none."""
        return self._extension
