"""Answers to challenges, with the examples of RFC 7616 and RFC 7617."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings import errors
from moorings.protocols import http_authentication
from moorings.protocols.http_authentication import (
    CHALLENGE_LIMIT,
    Challenge,
    answer_challenges,
    basic_credentials,
    parse_challenges,
)

REALM = 'realm="http-auth@example.org", qop="auth, auth-int"'
NONCE = 'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
RFC_7616 = [f"Digest {REALM}, algorithm=SHA-256, {NONCE}", f"Digest {REALM}, algorithm=MD5, {NONCE}"]


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_authentication.base64, "urlsafe_b64encode", lambda _: CNONCE.encode())


def answered(values: list[str], user: str = "Mufasa", password: str = "Circle of Life", **more: Any) -> str | None:
    return answer_challenges(parse_challenges(values), user, password, "GET", "/dir/index.html", **more)


def fields(value: str | None) -> dict[str, str]:
    assert value is not None
    (challenge,) = parse_challenges([value])
    return dict(challenge.parameters)


@pytest.mark.usefixtures("sample")
def test_the_examples_of_rfc_7616() -> None:
    strongest = fields(answered(list(reversed(RFC_7616))))
    assert strongest["algorithm"] == "SHA-256"
    assert strongest["response"] == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    old = fields(answered(RFC_7616[1:]))
    assert old["response"] == "8ca523f5e9506fed4657c9700eebdbec"
    assert old == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "uri": "/dir/index.html",
        "response": old["response"],
        "algorithm": "MD5",
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": CNONCE,
    }


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("algorithm", ["MD5-sess", "SHA-256-sess"])
def test_sessions(algorithm: str) -> None:
    found = fields(answered([f'Digest realm="r", qop=auth, algorithm={algorithm}, nonce="n"']))
    kind: Any = hashlib.md5 if algorithm.startswith("MD5") else hashlib.sha256

    def digest(text: str) -> str:
        return str(kind(text.encode()).hexdigest())

    secret = digest(f"{digest('Mufasa:r:Circle of Life')}:n:{CNONCE}")
    assert found["response"] == digest(f"{secret}:n:00000001:{CNONCE}:auth:{digest('GET:/dir/index.html')}")
    assert found["algorithm"] == algorithm


def test_without_qop() -> None:
    found = fields(answered(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"']))
    assert "cnonce" not in found
    assert "algorithm" not in found
    secret = hashlib.md5(b"Mufasa:testrealm@host.com:Circle of Life").hexdigest()
    request = hashlib.md5(b"GET:/dir/index.html").hexdigest()
    expected = hashlib.md5(f"{secret}:dcd98b7102dd2f0e8b11d0f600bfb0c093:{request}".encode()).hexdigest()
    assert found["response"] == expected


def test_names() -> None:
    """Quotes, letters beyond ASCII, and hashed names (RFC 7616 sections 3.4 and 3.4.4)."""
    challenge = 'Digest realm="a\\"b", qop="auth", algorithm=SHA-256, nonce="n"'
    quoted = answered([challenge], user='x"y\\z')
    assert 'username="x\\"y\\\\z", realm="a\\"b"' in (quoted or "")
    assert "username*=UTF-8''J%C3%A4s%C3%B8n" in (answered([challenge], user="Jäsøn") or "")
    hashed = answered([challenge + ", userhash=true"], user="Jäsøn")
    assert fields(hashed)["username"] == hashlib.sha256('Jäsøn:a"b'.encode()).hexdigest()
    assert (hashed or "").endswith("userhash=true")


def test_basic() -> None:
    assert basic_credentials("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert basic_credentials("test", "123£") == "Basic dGVzdDoxMjPCow=="  # RFC 7617 section 2.1
    assert answered(['Basic realm="r", charset="UTF-8"']) == basic_credentials("Mufasa", "Circle of Life")
    assert answered(['Basic realm="r"'], allow_basic=False) is None
    for user, password in (("a:b", ""), ("a\n", ""), ("a", "\0"), ("\ud800", "")):
        with pytest.raises(OSError, match=r"colon|control|UTF-8") as caught:
            basic_credentials(user, password)
        assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG
    for user in ("a\r\n", "\ud800"):
        with pytest.raises(OSError, match=r"control|UTF-8"):
            answered(RFC_7616, user=user)


@pytest.mark.parametrize(
    "value",
    [
        "Negotiate",
        "Negotiate YII=",
        'Digest realm="r"',
        'Digest nonce="n", qop="auth"',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Digest realm="r", nonce="n", algorithm=SHA-256',
        'Digest realm="r", nonce="n", algorithm=MD5-sess',
        'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-1',
        'Digest realm="r", nonce="n\x01", qop="auth"',
        'Digest realm="r", realm="s", nonce="n", qop="auth"',
        "",
        ",,,",
    ],
)
def test_what_cannot_be_answered(value: str) -> None:
    assert answered([value]) is None
    assert answered([value, "Basic realm=r"]) == basic_credentials("Mufasa", "Circle of Life")
    assert (answered([value, *RFC_7616]) or "").startswith("Digest ")


def test_lists_of_challenges() -> None:
    text = 'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple", Negotiate a87=, X, Y a=b'
    assert parse_challenges([text, "Z"]) == [
        Challenge("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
        Challenge("basic", {"realm": "simple"}),
        Challenge("negotiate", {}),
        Challenge("x", {}),
        Challenge("y", {"a": "b"}),
        Challenge("z", {}),
    ]
    assert len(parse_challenges(["X" + ", X" * 100])) == CHALLENGE_LIMIT


@given(st.lists(st.text(max_size=80), max_size=3))
def test_any_text(values: list[str]) -> None:
    value = answered(values)
    assert value is None or "\n" not in value


@given(
    st.lists(
        st.sampled_from(["Digest ", "Basic", " ", ",", "=", '"', "a", 'realm="r"', 'nonce="n"', 'qop="auth"', "\\"])
    )
)
def test_any_pieces(pieces: list[str]) -> None:
    value = answered(["".join(pieces)])
    assert value is None or value.startswith(("Digest ", "Basic "))
