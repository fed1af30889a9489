"""`Uri` and the query decoder of `Windows.Foundation`.

Theory of operation
-------------------
A URI is taken apart with the expression of RFC 3986 appendix B, so that nothing is dropped or guessed; then each part
is checked. What could make two readers see two different hosts is refused with E_INVALIDARG: control characters,
backslashes and percent signs in the authority, a missing host, a port out of range. What is merely sloppy (a space, a
lone `%`) is percent-encoded, and `suspicious` says so. Host names follow IDNA 2008 with UTS 46 mapping.

A `Uri` keeps its parts in two spellings: as an IRI with Unicode (`absolute_uri`, `host`), and in canonical ASCII
(`absolute_canonical_uri`), which is what goes onto the wire.

Sources: RFC 3986, RFC 3987, RFC 5891; the WinRT reference of `Uri` and `WwwFormUrlDecoder`.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from moorings import errors
from moorings.foundation.closable import IStringable
from moorings.foundation.projection import Object, check_object, check_str, final, not_constructible
from moorings.foundation.vectors import VectorView

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IWwwFormUrlDecoderEntry", "Uri", "WwwFormUrlDecoder", "WwwFormUrlDecoderEntry"]

#: Longest text that is taken, in characters.
MAX_URI_LENGTH: Final = 65_519
#: Most name-value pairs that a query may have.
MAX_QUERY_PAIRS: Final = 4_096

_PARTS: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.DOTALL,
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
# What may stand in a registered name beside letters, digits and characters beyond ASCII.
_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9_~-]*(?:[^\x00-\x7f][A-Za-z0-9_~-]*)*")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
# Characters of RFC 3986 that stay as they are in each part; everything else is percent-encoded.
_PATH_SAFE: Final = "/:@!$&'()*+,;=%"
_QUERY_SAFE: Final = _PATH_SAFE + "?"
_USER_SAFE: Final = ":!$&'()*+,;=%"


class _Parts(NamedTuple):
    """A URI reference, taken apart. None is an absent part, `""` an empty one."""

    scheme: str | None
    authority: str | None
    path: str
    query: str | None
    fragment: str | None


def _invalid(text: str, why: str) -> OSError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return errors.invalid_argument(f"Uri: {why} in {shown!r}")


def _split(text: str) -> _Parts:
    if len(text) > MAX_URI_LENGTH:
        raise _invalid(text, f"more than {MAX_URI_LENGTH} characters")
    if _CONTROL.search(text):
        raise _invalid(text, "a control character")
    match = _PARTS.fullmatch(text)
    if match is None:
        raise _invalid(text, "no URI")
    return _Parts(match["scheme"], match["authority"], match["path"], match["query"], match["fragment"])


def _remove_dots(path: str) -> str:
    """RFC 3986 section 5.2.4."""
    kept: list[str] = []
    segments = path.split("/")
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            # The empty segment in front of the first slash stays.
            if len(kept) > 1 or (kept and kept[0]):
                kept.pop()
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/".join(kept)


def _merge(base: _Parts, path: str) -> str:
    """RFC 3986 section 5.2.3."""
    if base.authority is not None and not base.path:
        return "/" + path
    return base.path[: base.path.rfind("/") + 1] + path


def _resolve(base: _Parts, reference: _Parts) -> _Parts:
    """RFC 3986 section 5.2.2, strict."""
    if reference.scheme is not None:
        return reference
    if reference.authority is not None:
        return reference._replace(scheme=base.scheme)
    if not reference.path:
        query = base.query if reference.query is None else reference.query
        return base._replace(query=query, fragment=reference.fragment)
    path = reference.path if reference.path.startswith("/") else _merge(base, reference.path)
    return _Parts(base.scheme, base.authority, path, reference.query, reference.fragment)


def _join(scheme: str, authority: str | None, path: str, query: str, fragment: str) -> str:
    return f"{scheme}:{'' if authority is None else '//' + authority}{path}{query}{fragment}"


def _normal_escape(match: re.Match[str]) -> str:
    """RFC 3986 section 6.2.2: upper-case digits, and no escape for unreserved characters."""
    byte = int(match[0][1:], 16)
    return chr(byte) if byte in _UNRESERVED else match[0].upper()


def _encode(text: str, safe: str, unicode: bool) -> str:
    """Percent-encode what may not stand in a part; with *unicode* characters beyond ASCII stay."""
    text = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)
    try:
        if unicode:
            encoded = re.sub(r"[\x00-\x7f]+", lambda match: quote(match[0], safe=safe), text)
        else:
            encoded = quote(text, safe=safe)
    except UnicodeEncodeError as error:
        raise errors.make(errors.ERROR_NO_UNICODE_TRANSLATION, f"Uri: {error}") from None
    return _ESCAPE.sub(_normal_escape, encoded)


def _decode(text: str, keep: Callable[[str], bool]) -> str:
    """Undo percent-encoding where it is valid UTF-8 and *keep* does not want the escape for the decoded character."""

    def decode(match: re.Match[str]) -> str:
        try:
            characters = unquote_to_bytes(match[0]).decode("utf-8")
        except UnicodeDecodeError:
            return match[0]
        return "".join(quote(char, safe="") if keep(char) else char for char in characters)

    return re.sub(r"(?:%[0-9A-Fa-f]{2})+", decode, text)


def _host_spellings(host: str, text: str) -> tuple[str, str]:
    """Return *host* in Unicode and in ASCII, lower case."""
    if host.startswith("["):
        try:
            address = f"[{IPv6Address(host[1:-1] if host.endswith(']') else '')}]"
        except AddressValueError:
            raise _invalid(text, "no IPv6 address in the brackets") from None
        return address, address
    labels = host.split(".")
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) and len(label) <= 63 for label in labels):
        raise _invalid(text, "no valid host name")
    if any(not label for label in labels[:-1]):
        raise _invalid(text, "an empty label in the host name")
    if host.isascii():
        lower = host.lower()
        return (_idna_decode(lower) if "xn--" in lower else lower), lower
    import idna  # noqa: PLC0415 (its tables take 10 ms to load, most hosts need none)

    try:
        ascii_host = idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise _invalid(text, f"no valid international host name ({error})") from None
    return _idna_decode(ascii_host), ascii_host


def _idna_decode(host: str) -> str:
    import idna  # noqa: PLC0415

    try:
        return idna.decode(host)
    except (idna.IDNAError, UnicodeError):
        # Looks like Punycode and is none: shown as it is.
        return host


def _port(digits: str, scheme: str, text: str) -> int:
    if not digits:
        return _DEFAULT_PORTS.get(scheme, 0)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 5 or int(digits) > 65_535:
        raise _invalid(text, "a port outside of 0 to 65535")
    return int(digits)


@final
class Uri(IStringable):
    """An absolute URI (RFC 3986) or IRI (RFC 3987), taken into its parts. Immutable.

    `Uri(uri)` takes an absolute URI, `Uri(base_uri, relative_uri)` resolves the second against the first. Equality and
    hash are identity, as for all WinRT objects; use `equals`.

    Errors: TypeError when an argument is no str; E_INVALIDARG for what is no absolute URI;
    ERROR_NO_UNICODE_TRANSLATION for lone surrogates. Source: WinRT `Uri`; RFC 3986.
    """

    __slots__ = (
        "__weakref__",
        "_ascii_host",
        "_authority",
        "_fragment",
        "_host",
        "_parts",
        "_path",
        "_port",
        "_query",
        "_raw",
        "_scheme",
        "_suspicious",
        "_user",
    )
    _winrt_name_ = "Windows.Foundation.Uri"

    def __init__(self, uri: str, relative_uri: str | None = None, /) -> None:
        text = check_str(uri, "uri")
        parts = _split(text)
        if relative_uri is not None:
            if parts.scheme is None:
                raise _invalid(text, "no scheme")
            parts = _resolve(parts, _split(check_str(relative_uri, "relative_uri")))
            text = _join(parts.scheme or "", parts.authority, parts.path, parts.query or "", parts.fragment or "")
        if parts.scheme is None:
            raise _invalid(text, "no scheme")
        self._raw = text
        self._parts = parts
        self._scheme = parts.scheme.lower()
        self._suspicious = False
        self._read_authority(parts.authority, text)
        self._read_rest(parts)

    def _read_authority(self, authority: str | None, text: str) -> None:
        needs_host = self._scheme in _DEFAULT_PORTS
        self._authority = authority is not None
        user, at, host_port = (authority or "").rpartition("@")
        self._user = user + at
        if "\\" in host_port or "%" in host_port or "@" in user or "\\" in user:
            raise _invalid(text, "a character that may not stand in an authority")
        match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", host_port, re.DOTALL)
        if match is None:
            raise _invalid(text, "more than one port")
        self._host, self._ascii_host = _host_spellings(match[1], text)
        if not match[1] and (needs_host or match[2] or at):
            raise _invalid(text, "no host")
        self._port = _port(match[2] or "", self._scheme, text) if match[1] else 0
        if _encode(user, _USER_SAFE, unicode=True) != user:
            self._suspicious = True

    def _read_rest(self, parts: _Parts) -> None:
        path = parts.path
        if path.startswith("/") or self._authority:
            path = _remove_dots(path) or ("/" if self._authority else "")
        if not self._authority and path.startswith("//"):
            # Would read as an authority: RFC 3986 section 3.3.
            path = "/." + path
        self._path = path
        self._query = parts.query or ""
        self._fragment = parts.fragment or ""
        # Lone percent signs, spaces, quotes and the like: taken, but not well-formed.
        for part, safe in ((path, _PATH_SAFE), (self._query, _QUERY_SAFE), (self._fragment[1:], _QUERY_SAFE)):
            stripped = _ESCAPE.sub("", part)
            if quote(re.sub(r"[^\x00-\x7f]", "", stripped), safe=safe.replace("%", "")) != re.sub(
                r"[^\x00-\x7f]", "", stripped
            ):
                self._suspicious = True

    def _compose(self, unicode: bool, user: bool = True) -> str:
        authority = None
        if self._authority:
            user_text = _encode(self._user[:-1], _USER_SAFE, unicode) + "@" if self._user and user else ""
            default = self._port == _DEFAULT_PORTS.get(self._scheme, 0)
            port = "" if default else f":{self._port}"
            authority = f"{user_text}{self._host if unicode else self._ascii_host}{port}"
        fragment = "#" + _encode(self._fragment[1:], _QUERY_SAFE, unicode) if self._fragment else ""
        return _join(
            self._scheme,
            authority,
            _encode(self._path, _PATH_SAFE, unicode),
            _encode(self._query, _QUERY_SAFE, unicode),
            fragment,
        )

    @staticmethod
    def escape_component(to_escape: str, /) -> str:
        """Percent-encode all but letters, digits and `-._~`, as UTF-8. ERROR_NO_UNICODE_TRANSLATION for surrogates."""
        try:
            return quote(check_str(to_escape, "to_escape"), safe="")
        except UnicodeEncodeError as error:
            raise errors.make(errors.ERROR_NO_UNICODE_TRANSLATION, f"Uri.escape_component: {error}") from None

    @staticmethod
    def unescape_component(to_unescape: str, /) -> str:
        """Undo percent-encoding. ERROR_NO_UNICODE_TRANSLATION when the result is not UTF-8."""
        try:
            return unquote_to_bytes(check_str(to_unescape, "to_unescape")).decode("utf-8")
        except UnicodeError as error:
            raise errors.make(errors.ERROR_NO_UNICODE_TRANSLATION, f"Uri.unescape_component: {error}") from None

    def combine_uri(self, relative_uri: str, /) -> Uri:
        """Return *relative_uri* resolved against this URI. E_INVALIDARG when the result is no valid URI."""
        return Uri(self._raw, relative_uri)

    def equals(self, p_uri: Uri, /) -> bool:
        """Return whether both have the same canonical form, fragment included."""
        return self.absolute_canonical_uri == check_object(p_uri, Uri, "p_uri").absolute_canonical_uri

    def to_string(self) -> str:
        """Return the canonical URI with every escape undone but those of `#`, `?`, `%` and control characters."""
        return _decode(self.absolute_canonical_uri, lambda char: char in "#?%" or char < " " or char == "\x7f")

    def __repr__(self) -> str:
        return f"<Uri {self.display_uri}>"

    @property
    def absolute_uri(self) -> str:
        """The whole URI, normalised. Characters beyond ASCII stay as they are, so it may be an IRI."""
        return self._compose(unicode=True)

    @property
    def absolute_canonical_uri(self) -> str:
        """The whole URI in ASCII: percent-encoded UTF-8, and Punycode in the host. What goes onto the wire."""
        return self._compose(unicode=False)

    @property
    def display_uri(self) -> str:
        """The URI for people: `absolute_uri` without user name and password."""
        return self._compose(unicode=True, user=False)

    @property
    def display_iri(self) -> str:
        """The URI for people with escapes decoded where that shows printable characters beyond ASCII."""
        return _decode(self.display_uri, lambda char: char.isascii() or not char.isprintable())

    @property
    def raw_uri(self) -> str:
        """The text it was made of; for two arguments what they combine to."""
        return self._raw

    @property
    def scheme_name(self) -> str:
        """The scheme in lower case, without the colon."""
        return self._scheme

    @property
    def user_name(self) -> str:
        """The user name, escapes kept; `""` when there is none."""
        return self._user[:-1].partition(":")[0]

    @property
    def password(self) -> str:
        """The password, escapes kept; `""` when there is none."""
        return self._user[:-1].partition(":")[2]

    @property
    def host(self) -> str:
        """The host in lower case and Unicode; an IPv6 address without brackets, fit for `HostName`."""
        return self._host.strip("[]")

    @property
    def domain(self) -> str:
        """The last two labels of the host; `""` for an address or a single label.

        There is no list of public suffixes behind it: `www.example.co.uk` gives `co.uk`.
        """
        labels = self._host.rstrip(".").split(".")
        try:
            IPv4Address(self._host)
        except AddressValueError:
            return "" if len(labels) < 2 or self._host.startswith("[") else ".".join(labels[-2:])
        return ""

    @property
    def port(self) -> int:
        """The port; without one in the URI the default of http, https, ws, wss and ftp, 0 for other schemes."""
        return self._port

    @property
    def path(self) -> str:
        """The path without `.` and `..` segments, percent-encoded; `/` for an empty path behind a host."""
        return _encode(self._path, _PATH_SAFE, unicode=True)

    @property
    def extension(self) -> str:
        """What follows the last dot in the last segment of the path, without the dot; `""` when there is none."""
        name = self.path.rpartition("/")[2]
        return name.rpartition(".")[2] if "." in name else ""

    @property
    def query(self) -> str:
        """The query with its `?`; `""` when there is none."""
        return _encode(self._query, _QUERY_SAFE, unicode=True)

    @property
    def query_parsed(self) -> WwwFormUrlDecoder:
        """The query as name-value pairs."""
        return WwwFormUrlDecoder(self._query)

    @property
    def fragment(self) -> str:
        """The fragment with its `#`; `""` when there is none."""
        return "#" + _encode(self._fragment[1:], _QUERY_SAFE, unicode=True) if self._fragment else ""

    @property
    def suspicious(self) -> bool:
        """Whether the text was not well-formed: characters that RFC 3986 wants percent-encoded, or a lone `%`."""
        return self._suspicious


class IWwwFormUrlDecoderEntry(Object):
    """One name-value pair of a query."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The decoded name."""
        raise errors.not_implemented("IWwwFormUrlDecoderEntry.name", "a class that derives from it")

    @property
    def value(self) -> str:
        """The decoded value; `""` when the pair has no `=`."""
        raise errors.not_implemented("IWwwFormUrlDecoderEntry.value", "a class that derives from it")


@final
@not_constructible
class WwwFormUrlDecoderEntry(IWwwFormUrlDecoderEntry):
    """One name-value pair of a query; `WwwFormUrlDecoder` makes them."""

    __slots__ = ("_name", "_value")
    _winrt_name_ = "Windows.Foundation.WwwFormUrlDecoderEntry"
    _name: str
    _value: str

    @property
    def name(self) -> str:
        """The decoded name."""
        return self._name

    @property
    def value(self) -> str:
        """The decoded value; `""` when the pair has no `=`."""
        return self._value

    def __repr__(self) -> str:
        return f"<WwwFormUrlDecoderEntry {self._name}={self._value}>"


def _entry(name: str, value: str) -> WwwFormUrlDecoderEntry:
    entry = object.__new__(WwwFormUrlDecoderEntry)
    entry._name = name  # pyright: ignore[reportPrivateUsage]
    entry._value = value  # pyright: ignore[reportPrivateUsage]
    return entry


@final
class WwwFormUrlDecoder(VectorView[IWwwFormUrlDecoderEntry]):
    """The name-value pairs of a query (`application/x-www-form-urlencoded`), a leading `?` allowed.

    `+` is a space; bytes that are not UTF-8 become U+FFFD. E_INVALIDARG for more than 4,096 pairs or more than 65,519
    characters. Source: WinRT `WwwFormUrlDecoder`.
    """

    __slots__ = ()
    _winrt_name_ = "Windows.Foundation.WwwFormUrlDecoder"

    def __init__(self, query: str, /) -> None:
        text = check_str(query, "query")
        if len(text) > MAX_URI_LENGTH:
            raise _invalid(text, f"more than {MAX_URI_LENGTH} characters")
        try:
            pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True, max_num_fields=MAX_QUERY_PAIRS)
        except ValueError as error:
            raise errors.make(errors.E_INVALIDARG, f"WwwFormUrlDecoder: {error}") from None
        super().__init__([_entry(name, value) for name, value in pairs])

    def get_first_value_by_name(self, name: str, /) -> str:
        """Return the value of the first pair called *name*. E_INVALIDARG when there is none."""
        check_str(name, "name")
        for entry in self:
            if entry.name == name:
                return entry.value
        raise errors.invalid_argument(f"the query has no value called {name!r}")
