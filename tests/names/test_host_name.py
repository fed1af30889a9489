"""HostName: what is a host name, its forms, and how names compare."""

from __future__ import annotations

import errno
import ipaddress
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moorings import errors
from moorings.foundation.closable import IStringable
from moorings.names.enums import DomainNameType, HostNameSortOptions, HostNameType
from moorings.names.host_name import HostName, host_name_from_sockaddr, host_text

BLUETOOTH = "(AA:BB:CC:DD:EE:0f)"


def refused(text: str) -> OSError:
    with pytest.raises(OSError) as caught:
        HostName(text)
    assert caught.value.winerror == errors.E_INVALIDARG
    assert caught.value.errno == errno.EINVAL
    return caught.value


@pytest.mark.parametrize(
    ("text", "kind", "canonical", "display"),
    [
        ("example.com", HostNameType.DOMAIN_NAME, "example.com", "example.com"),
        ("Example.COM.", HostNameType.DOMAIN_NAME, "example.com", "example.com"),
        ("localhost", HostNameType.DOMAIN_NAME, "localhost", "localhost"),
        ("_xmpp-client._tcp.example.com", HostNameType.DOMAIN_NAME, "_xmpp-client._tcp.example.com", None),
        ("my_host", HostNameType.DOMAIN_NAME, "my_host", "my_host"),
        ("r3---sn-p5.example", HostNameType.DOMAIN_NAME, "r3---sn-p5.example", None),
        ("3com.com", HostNameType.DOMAIN_NAME, "3com.com", None),
        ("bücher.example", HostNameType.DOMAIN_NAME, "xn--bcher-kva.example", "bücher.example"),
        ("BÜCHER.example", HostNameType.DOMAIN_NAME, "xn--bcher-kva.example", "bücher.example"),
        ("XN--BCHER-KVA.example", HostNameType.DOMAIN_NAME, "xn--bcher-kva.example", "bücher.example"),
        ("straße.de", HostNameType.DOMAIN_NAME, "xn--strae-oqa.de", "straße.de"),
        ("例え。テスト", HostNameType.DOMAIN_NAME, "xn--r8jz45g.xn--zckzah", "例え.テスト"),
        ("ｅｘａｍｐｌｅ.com", HostNameType.DOMAIN_NAME, "example.com", "example.com"),
        ("192.0.2.1", HostNameType.IPV4, "192.0.2.1", "192.0.2.1"),
        ("0.0.0.0", HostNameType.IPV4, "0.0.0.0", None),
        ("255.255.255.255", HostNameType.IPV4, "255.255.255.255", None),
        ("::1", HostNameType.IPV6, "::1", "::1"),
        ("[::1]", HostNameType.IPV6, "::1", "::1"),
        ("::", HostNameType.IPV6, "::", None),
        ("2001:DB8:0:0:1:0:0:1", HostNameType.IPV6, "2001:db8::1:0:0:1", None),
        ("2001:db8:0:1:1:1:1:1", HostNameType.IPV6, "2001:db8:0:1:1:1:1:1", None),
        ("::ffff:192.0.2.1", HostNameType.IPV6, "::ffff:192.0.2.1", None),
        ("FE80::1%eth0", HostNameType.IPV6, "fe80::1%eth0", None),
        ("[fe80::1%4]", HostNameType.IPV6, "fe80::1%4", None),
        ("fe80::1%4294967295", HostNameType.IPV6, "fe80::1%4294967295", None),
        (BLUETOOTH, HostNameType.BLUETOOTH, "(AA:BB:CC:DD:EE:0F)", "(AA:BB:CC:DD:EE:0F)"),
    ],
)
def test_forms(text: str, kind: HostNameType, canonical: str, display: str | None) -> None:
    host = HostName(text)
    assert host.raw_name == text
    assert host.type is kind
    assert host.canonical_name == canonical
    assert host.display_name == (canonical if display is None else display)
    assert str(host) == host.to_string() == host.display_name
    assert host.ip_information is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be empty"),
        (".", "empty"),
        ("..", "empty"),
        ("a..b", "empty"),
        (".a", "empty"),
        (" example.com", "' ' is not allowed"),
        ("example.com ", "' ' is not allowed"),
        ("exam ple", "not allowed"),
        ("example.com\x00.evil", "not allowed"),
        ("example.com/path", "'/' is not allowed"),
        ("user@example.com", "'@' is not allowed"),
        ("example.com:80", "ports are given apart"),
        ("http://example.com", "ports are given apart"),
        ("[::1", "bracket"),
        ("[::1]:80", "bracket"),
        ("::1]", "not an IPv6 address"),
        ("[", "bracket"),
        ("[]", "not an IPv6 address"),
        ("[192.0.2.1]", "not an IPv6 address"),
        ("[example.com]", "not an IPv6 address"),
        ("1::2::3", "not an IPv6 address"),
        ("1:2:3:4:5:6:7:8:9", "not an IPv6 address"),
        ("12345::", "not an IPv6 address"),
        ("::1\x00", "not an IPv6 address"),
        ("::1%", "name of an interface"),
        ("fe80::1%4294967296", "name of an interface"),
        ("fe80::1%eth0/64", "name of an interface"),
        ("fe80::1%a b", "name of an interface"),
        ("fe80::1%eth0%eth1", "name of an interface"),
        ("fe80::1%sixteen-letters-", "name of an interface"),
        ("256.0.0.1", "four decimal numbers"),
        ("1.2.3", "four decimal numbers"),
        ("1.2.3.4.5", "four decimal numbers"),
        ("1.2.3.4.", "four decimal numbers"),
        ("01.2.3.4", "without leading zeros"),
        ("0177.0.0.1", "without leading zeros"),
        ("127.1", "four decimal numbers"),
        ("2130706433", "four decimal numbers"),
        ("0x7f.0.0.1", "last label is a number"),
        ("0x7f000001", "last label is a number"),
        ("0x", "last label is a number"),
        ("example.0x7F", "last label is a number"),
        ("example.12", "last label is a number"),
        ("example.12.", "last label is a number"),
        ("１２７.０.０.１", "last label is a number"),
        ("１２７。１", "last label is a number"),
        ("٣٣", "IDNA"),
        ("-example.com", "hyphen"),
        ("example-.com", "hyphen"),
        ("a" * 64 + ".com", "at most 63"),
        (".".join(["a" * 49] * 6), "at most 253"),
        ("a" * 1025, "too long for a host name"),
        ("ü" * 60 + ".com", "IDNA"),
        ("xn--", "IDNA"),
        ("xn--a", "IDNA"),
        ("xn--example-", "IDNA"),
        ("xn--\N{PILE OF POO}", "IDNA"),
        ("\N{PILE OF POO}.example", "IDNA"),
        ("\u200d.example", "IDNA"),
        ("\u00ad", "empty"),
        ("\ud800.example", "IDNA"),
        ("a\u0301\u05d0.example", "IDNA"),
        ("_ü.example", "IDNA"),
        ("(AA:BB:CC:DD:EE:FF", "Bluetooth"),
        ("(AA:BB:CC:DD:EE:FF:00)", "Bluetooth"),
        ("(AA-BB-CC-DD-EE-FF)", "Bluetooth"),
        ("AA:BB:CC:DD:EE:FF", "not an IPv6 address"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    assert reason in refused(text).reason


def test_the_reason_does_not_repeat_a_long_text() -> None:
    assert len(refused("!" * 1000).reason) < 250


@pytest.mark.parametrize("value", [None, 1, b"example.com", object()])
def test_only_text_is_taken(value: object) -> None:
    with pytest.raises(TypeError, match="str"):
        HostName(value)  # type: ignore[arg-type]


def test_parameters_are_positional() -> None:
    with pytest.raises(TypeError):
        HostName(host_name="a")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        HostName()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        HostName("a", "b")  # type: ignore[call-arg]


def test_final_and_read_only() -> None:
    with pytest.raises(TypeError):
        type("Derived", (HostName,), {})
    host = HostName("a")
    for name in ("raw_name", "display_name", "canonical_name", "type", "ip_information", "extra"):
        with pytest.raises(AttributeError):
            setattr(host, name, "b")


def test_longest_name_fits() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(longest) == 253
    assert HostName(longest).canonical_name == longest
    assert HostName(longest + ".").canonical_name == longest


def test_identity_and_equality() -> None:
    first, second = HostName("Example.com"), HostName("example.COM.")
    assert first != second
    assert first == first
    assert len({first, second}) == 2
    assert first.is_equal(second)
    assert not first.is_equal(HostName("example.org"))
    assert not HostName("192.0.2.1").is_equal(HostName("::ffff:192.0.2.1"))
    assert repr(first) == "HostName('Example.com')"


def test_is_equal_wants_a_host_name() -> None:
    with pytest.raises(OSError) as caught:
        HostName("a").is_equal(None)  # type: ignore[arg-type]
    assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(TypeError):
        HostName("a").is_equal("a")  # type: ignore[arg-type]


def test_interfaces() -> None:
    host = HostName("a")
    assert isinstance(host, IStringable)
    assert host.as_(IStringable) is host
    assert host._runtime_class_name_ == "Windows.Networking.HostName"


def test_compare() -> None:
    assert HostName.compare("a.example", "B.example") == -1
    assert HostName.compare("b.example", "A.example") == 1
    assert HostName.compare("BÜCHER.example.", "xn--bcher-kva.example") == 0
    with pytest.raises(OSError) as caught:
        HostName.compare("a", "")
    assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(TypeError):
        HostName.compare("a", None)  # type: ignore[arg-type]


def test_lookup_form_keeps_the_trailing_dot() -> None:
    assert host_text(HostName("Example.com.")).lookup == "example.com."
    assert host_text(HostName("Example.com")).lookup == "example.com"


@pytest.mark.parametrize(
    ("sockaddr", "text", "kind"),
    [
        (("192.0.2.7", 80), "192.0.2.7", HostNameType.IPV4),
        (("2001:db8::1", 80, 0, 0), "2001:db8::1", HostNameType.IPV6),
        (("::ffff:192.0.2.7", 80, 0, 0), "192.0.2.7", HostNameType.IPV4),
        (("fe80::1", 80, 0, 1), "fe80::1%lo", HostNameType.IPV6),
        (("fe80::1", 80, 0, 2**31), f"fe80::1%{2**31}", HostNameType.IPV6),
    ],
)
def test_from_sockaddr(sockaddr: tuple[object, ...], text: str, kind: HostNameType) -> None:
    host = host_name_from_sockaddr(sockaddr)
    assert host.type is kind
    assert host.is_equal(HostName(text))
    assert (host.raw_name, host.display_name, str(host)) == (text, text, text)


def test_enumerations() -> None:
    assert [member.value for member in HostNameType] == [0, 1, 2, 3]
    assert HostNameSortOptions.NONE == 0
    assert HostNameSortOptions.OPTIMIZE_FOR_LONG_CONNECTIONS == 2
    assert (DomainNameType.SUFFIX, DomainNameType.FULLY_QUALIFIED) == (0, 1)
    assert HostNameType(77) == 77


@given(st.ip_addresses(v=4))
def test_every_ipv4_address(address: ipaddress.IPv4Address) -> None:
    host = HostName(str(address))
    assert (host.type, host.canonical_name) == (HostNameType.IPV4, str(address))


@given(st.ip_addresses(v=6))
def test_every_ipv6_address(address: ipaddress.IPv6Address) -> None:
    spellings = [address.compressed, address.exploded, f"[{address.exploded.upper()}]"]
    names = [HostName(text) for text in spellings]
    assert {host.type for host in names} == {HostNameType.IPV6}
    assert len({host.canonical_name for host in names}) == 1
    assert ipaddress.IPv6Address(names[0].canonical_name) == address
    assert HostName(names[0].canonical_name).canonical_name == names[0].canonical_name


LDH = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=63).filter(
    lambda label: label[0] != "-" and label[-1] != "-" and not label.lower().startswith("xn--")
)


@given(st.lists(LDH, min_size=1, max_size=3), st.sampled_from(["", "."]))
def test_every_ascii_name(labels: list[str], dot: str) -> None:
    name = ".".join([*labels, "example"])
    assert HostName(name + dot).canonical_name == name.lower()


@given(st.text(max_size=80))
@example("ß.ẞ")
@example("a\u2024b")
@example("℀")
@example("xn--zzzzzzzz-99999999a")
@example("İ.example")
def test_any_text_is_a_stable_name_or_refused(text: str) -> None:
    try:
        host = HostName(text)
    except OSError:
        refused(text)
        return
    canonical = host.canonical_name
    assert canonical.isascii()
    again = HostName(canonical)
    assert (again.canonical_name, again.type, again.display_name) == (canonical, host.type, host.display_name)
    assert HostName(host.display_name).canonical_name == canonical
    assert HostName.compare(text, canonical) == 0
    if host.type is HostNameType.DOMAIN_NAME:
        assert set(canonical) <= set(string.ascii_lowercase + string.digits + "-_.")
        assert len(canonical) <= 253


@given(st.text("0123456789abcdefxX.:[]%()", max_size=30))
def test_text_that_looks_like_an_address(text: str) -> None:
    test_any_text_is_a_stable_name_or_refused.hypothesis.inner_test(text)
