from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings import errors
from moorings.foundation.closable import IStringable
from moorings.foundation.collections import IVectorView
from moorings.foundation.uri import IWwwFormUrlDecoderEntry, Uri, WwwFormUrlDecoder, WwwFormUrlDecoderEntry


def _refused(*args: Any) -> None:
    with pytest.raises(OSError) as caught:
        Uri(*args)
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_INVALIDARG


def test_parts_of_the_documented_example() -> None:
    uri = Uri("http://user:pass@msdn.example.com:8080/library/uri.aspx?cs-save-lang=1&cs-lang=cpp#code-snippet-1")
    assert isinstance(uri, IStringable)
    assert uri.scheme_name == "http"
    assert (uri.user_name, uri.password) == ("user", "pass")
    assert (uri.host, uri.domain, uri.port) == ("msdn.example.com", "example.com", 8080)
    assert (uri.path, uri.extension) == ("/library/uri.aspx", "aspx")
    assert uri.query == "?cs-save-lang=1&cs-lang=cpp"
    assert uri.fragment == "#code-snippet-1"
    assert not uri.suspicious
    assert uri.absolute_uri == uri.raw_uri == uri.absolute_canonical_uri == uri.to_string() == str(uri)
    assert uri.display_uri == uri.display_iri == uri.raw_uri.replace("user:pass@", "")
    assert "pass" not in repr(uri)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("http://h", 80),
        ("https://h", 443),
        ("ws://h", 80),
        ("wss://h:", 443),
        ("ftp://h", 21),
        ("coap://h", 0),
        ("coap://h:65535", 65535),
        ("http://h:0/", 0),
        ("mailto:a@example.com", 0),
    ],
)
def test_ports(text: str, port: int) -> None:
    assert Uri(text).port == port


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("HTTP://EXAMPLE.com", "http://example.com/"),
        ("http://h:80/", "http://h/"),
        ("http://h:/", "http://h/"),
        ("wss://h:80/", "wss://h:80/"),
        ("http://h/a/./b/../c", "http://h/a/c"),
        ("http://h/../../x", "http://h/x"),
        ("http://h/a/..", "http://h/"),
        ("http://h/%7euser/%c3%a9%2f", "http://h/~user/%C3%A9%2F"),
        ("http://h/ä ö", "http://h/%C3%A4%20%C3%B6"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://BÜCHER.example/", "http://xn--bcher-kva.example/"),
        ("http://[2001:DB8:0:0:0:0:0:1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://h?x y", "http://h/?x%20y"),
        ("http://h/%zz", "http://h/%25zz"),
        ("http://h/a?b?c/d#e?f", "http://h/a?b?c/d#e?f"),
        ("urn:isbn:0451450523", "urn:isbn:0451450523"),
        ("mailto:a@example.com", "mailto:a@example.com"),
        ("file:///etc/hosts", "file:///etc/hosts"),
        ("x:/.//y", "x:/.//y"),
        ("http://h/a\\b", "http://h/a%5Cb"),
        ("http://us er@h/", "http://us%20er@h/"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    uri = Uri(text)
    assert uri.absolute_canonical_uri == canonical
    assert Uri(canonical).absolute_canonical_uri == canonical
    assert uri.raw_uri == text
    assert uri.equals(Uri(canonical))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relative/path",
        "/path",
        "//host/path",
        "http:",
        "http://",
        "http:///path",
        "http:host",
        "http://:80/",
        "http://h:65536/",
        "http://h:-1/",
        "http://h:8O/",
        "http://h:٣/",
        "http://h:1:2/",
        "http://[::1/",
        "http://[::g]/",
        "http://[v1.x]/",
        "http://::1/",
        "http://a b/",
        "http://a\\@b/",
        "http://a%2fb/",
        "http://a%40b/",
        "http://x@y@z/",
        "http://a..b/",
        "http://.a/",
        "http://<h>/",
        "http://h|x/",
        " http://h/",
        "http://h/\n",
        "http://h/\x00",
        "http://h\t/",
        "ht tp://h/",
        "1http://h/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a.bcdefgh" * 40 + "/",
        "http://h/" + "a" * 70_000,
        "http://\u2488com/",
        "coap://@/",
        "coap://:5/",
    ],
)
def test_refused(text: str) -> None:
    _refused(text)


def test_trailing_dot_is_kept() -> None:
    assert Uri("http://example.com./").host == "example.com."
    assert Uri("http://example.com./").domain == "example.com"


def test_wrong_types_and_counts() -> None:
    for args in ((None,), (5,), (b"http://h/",), ("http://h/", 5)):
        with pytest.raises(TypeError):
            Uri(*args)
    with pytest.raises(TypeError):
        Uri(uri="http://h/")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Uri()  # type: ignore[call-arg]


# RFC 3986 section 5.4.1 and 5.4.2, written with the host that makes the base legal here.
BASE = "http://a/b/c/d;p?q"
RESOLVED = {
    "g:h": "g:h",
    "g": "http://a/b/c/g",
    "./g": "http://a/b/c/g",
    "g/": "http://a/b/c/g/",
    "/g": "http://a/g",
    "//g": "http://g/",
    "?y": "http://a/b/c/d;p?y",
    "g?y": "http://a/b/c/g?y",
    "#s": "http://a/b/c/d;p?q#s",
    "g#s": "http://a/b/c/g#s",
    "g?y#s": "http://a/b/c/g?y#s",
    ";x": "http://a/b/c/;x",
    "g;x": "http://a/b/c/g;x",
    "": "http://a/b/c/d;p?q",
    ".": "http://a/b/c/",
    "./": "http://a/b/c/",
    "..": "http://a/b/",
    "../": "http://a/b/",
    "../g": "http://a/b/g",
    "../..": "http://a/",
    "../../g": "http://a/g",
    "../../../g": "http://a/g",
    "/./g": "http://a/g",
    "/../g": "http://a/g",
    "g.": "http://a/b/c/g.",
    ".g": "http://a/b/c/.g",
    "..g": "http://a/b/c/..g",
    "./../g": "http://a/b/g",
    "./g/.": "http://a/b/c/g/",
    "g/./h": "http://a/b/c/g/h",
    "g/../h": "http://a/b/c/h",
    "g;x=1/../y": "http://a/b/c/y",
    "g?y/../x": "http://a/b/c/g?y/../x",
    "g#s/../x": "http://a/b/c/g#s/../x",
}


@pytest.mark.parametrize(("relative", "expected"), RESOLVED.items())
def test_resolution(relative: str, expected: str) -> None:
    assert Uri(BASE, relative).absolute_uri == expected
    assert Uri(BASE).combine_uri(relative).absolute_uri == expected


def test_resolution_errors_and_odd_bases() -> None:
    _refused("relative", "x")
    _refused(BASE, "http://h:99999/")
    assert Uri("http://a", "g").absolute_uri == "http://a/g"
    assert Uri("ws://a/b", "//c").scheme_name == "ws"
    assert Uri(BASE, "g").raw_uri == "http://a/b/c/g"


def test_international_names_and_display() -> None:
    uri = Uri("https://xn--bcher-kva.example/%C3%A9/%E2%80%AE?x=%C3%B6%23#%FF")
    assert uri.host == "bücher.example"
    assert uri.domain == "bücher.example"
    assert uri.absolute_uri == "https://bücher.example/%C3%A9/%E2%80%AE?x=%C3%B6%23#%FF"
    # The direction override U+202E and the escapes of ASCII and of broken UTF-8 stay encoded.
    assert uri.display_iri == "https://bücher.example/é/%E2%80%AE?x=ö%23#%FF"
    assert uri.to_string() == "https://xn--bcher-kva.example/é/\u202e?x=ö%23#%FF"
    assert Uri("http://é.example/é").absolute_uri == "http://é.example/é"
    assert Uri("http://xn--a-not-punycode-ü.example/x".replace("ü", "9999999")).host.startswith("xn--")


def test_domain_of_addresses_and_single_labels() -> None:
    assert [Uri(f"http://{host}/").domain for host in ("192.0.2.1", "[::1]", "localhost", "a.b.example.org")] == [
        "",
        "",
        "",
        "example.org",
    ]
    assert Uri("http://[::1]/").host == "::1"


def test_extension() -> None:
    names = {"/a.b/c": "", "/x.tar.gz": "gz", "/": "", "/.profile": "profile", "/a.": ""}
    assert {path: Uri("http://h" + path).extension for path in names} == names


@pytest.mark.parametrize(
    ("text", "suspicious"),
    [
        ("http://h/a%20b", False),
        ("http://h/ü", False),
        ("http://h/a b", True),
        ("http://h/100%", True),
        ('http://h/?"', True),
        ("http://h/#a#b", True),
        ("http://h/<x>", True),
        ("http://u ser@h/", True),
    ],
)
def test_suspicious(text: str, suspicious: bool) -> None:
    assert Uri(text).suspicious is suspicious


def test_equality_is_identity_and_equals_is_value() -> None:
    first, second = Uri("http://h/"), Uri("HTTP://h:80")
    assert first != second
    assert first.equals(second)
    assert not first.equals(Uri("http://h/#x"))
    with pytest.raises(TypeError):
        first.equals("http://h/")  # type: ignore[arg-type]


def test_escape_and_unescape() -> None:
    assert Uri.escape_component("a b/ü~") == "a%20b%2F%C3%BC~"
    assert Uri.unescape_component("a%20b%2F%C3%BC+") == "a b/ü+"
    for call, text in ((Uri.escape_component, "\ud800"), (Uri.unescape_component, "%ff")):
        with pytest.raises(OSError, match="escape_component") as caught:
            call(text)
        assert isinstance(caught.value, errors.CodedError)
        assert caught.value.winerror == errors.ERROR_NO_UNICODE_TRANSLATION
    with pytest.raises(OSError, match="surrogates"):
        _ = Uri("http://h/\ud800").absolute_canonical_uri


@given(st.text())
def test_escape_round_trip(text: str) -> None:
    escaped = Uri.escape_component(text)
    assert escaped.isascii()
    assert Uri.unescape_component(escaped) == text


@given(st.text(alphabet="ahtp:/?#[]@%2.0-é\\ \u3002\x00", max_size=40))
def test_any_text_is_parsed_or_refused(rest: str) -> None:
    try:
        uri = Uri("http://" + rest)
    except errors.CodedError as error:
        if error.winerror == errors.E_INVALIDARG:
            return
        raise
    canonical = uri.absolute_canonical_uri
    assert canonical.isascii()
    assert Uri(canonical).absolute_canonical_uri == canonical
    # Another parser must see the same host.
    assert urlsplit(canonical).hostname == uri._ascii_host.strip("[]")


def test_final() -> None:
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (Uri,), {})


def test_query_pairs() -> None:
    decoder = Uri("http://h/?a=1&b=x+y%26&a=2&c&=d&%ff=1").query_parsed
    assert isinstance(decoder, WwwFormUrlDecoder)
    assert isinstance(decoder, IVectorView)
    assert [(entry.name, entry.value) for entry in decoder] == [
        ("a", "1"),
        ("b", "x y&"),
        ("a", "2"),
        ("c", ""),
        ("", "d"),
        ("\ufffd", "1"),
    ]
    assert decoder.size == len(decoder) == 6
    assert decoder.get_first_value_by_name("a") == "1"
    entry = decoder.get_at(1)
    assert isinstance(entry, WwwFormUrlDecoderEntry)
    assert isinstance(entry, IWwwFormUrlDecoderEntry)
    assert decoder.index_of(entry) == (True, 1)
    assert repr(entry) == "<WwwFormUrlDecoderEntry b=x y&>"
    with pytest.raises(OSError, match="no value called 'zz'") as caught:
        decoder.get_first_value_by_name("zz")
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_INVALIDARG


def test_decoder_limits_and_arguments() -> None:
    assert WwwFormUrlDecoder("").size == 0
    assert WwwFormUrlDecoder("?x=1").get_first_value_by_name("x") == "1"
    for query in ("a&" * 5_000, "x" * 70_000):
        with pytest.raises(OSError, match=r"in 'xxx|Max number") as caught:
            WwwFormUrlDecoder(query)
        assert isinstance(caught.value, errors.CodedError)
        assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(TypeError):
        WwwFormUrlDecoder(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot create"):
        WwwFormUrlDecoderEntry()
    interface = IWwwFormUrlDecoderEntry()
    for name in ("name", "value"):
        with pytest.raises(OSError, match="does not implement"):
            getattr(interface, name)
