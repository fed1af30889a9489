"""Answers to HTTP challenges: Basic and Digest, for servers (401) and proxies (407).

No small library that is kept up does this by itself: those that do it well are parts of HTTP clients.

Sources: RFC 7617 (Basic), RFC 7616 (Digest), RFC 9110 section 11, RFC 8187.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["CHALLENGE_LIMIT", "Challenge", "answer_challenges", "basic_credentials", "parse_challenges"]

#: Challenges that are looked at.
CHALLENGE_LIMIT = 16

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = re.compile(rf"[ \t,]*({_TOKEN})(?=[ ,\t]|$)")
_TOKEN68: Final = re.compile(r" +([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_PARAMETER: Final = re.compile(
    rf"[ \t,]*({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|\"((?:[^\"\\]|\\.)*)\")[ \t]*(?=,|$)", re.DOTALL
)
#: Hashes of Digest, and how strong they are.
_STRENGTH: Final = {"SHA-256": 2, "MD5": 1}


class Challenge(NamedTuple):
    """One challenge of a WWW-Authenticate or Proxy-Authenticate header."""

    scheme: str
    """In lower case."""
    parameters: Mapping[str, str]
    """Names in lower case."""


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges of all headers, in order. A header is read as far as it is well-formed."""
    found: list[Challenge] = []
    for value in values:
        place = 0
        while len(found) < CHALLENGE_LIMIT:
            scheme = _SCHEME.match(value, place)
            if scheme is None:
                break
            place = scheme.end()
            token = _TOKEN68.match(value, place)
            if token is not None:
                place = token.end()
            parameters: dict[str, str] = {}
            doubled = False
            while (parameter := _PARAMETER.match(value, place)) is not None:
                name = parameter[1].lower()
                doubled = doubled or name in parameters
                parameters[name] = re.sub(r"\\(.)", r"\1", parameter[3]) if parameter[2] is None else parameter[2]
                place = parameter.end()
            if not doubled:
                found.append(Challenge(scheme[1].lower(), parameters))
    return found


def basic_credentials(user: str, password: str) -> str:
    """The value of an Authorization header for Basic. E_INVALIDARG for a colon in the name, and control characters."""
    if ":" in user:
        raise errors.invalid_argument("Basic authentication takes no user name with a colon")
    for text in (user, password):
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise errors.invalid_argument("Basic authentication takes no control characters")
    return "Basic " + base64.b64encode(_octets(f"{user}:{password}")).decode()


def answer_challenges(
    challenges: Iterable[Challenge], user: str, password: str, method: str, target: str, *, allow_basic: bool = True
) -> str | None:
    """The value of the header that answers the strongest challenge that can be answered; None where none can.

    SHA-256 goes before MD5, and both before Basic. ``target`` is the request target as it is sent (path and query; for
    CONNECT the authority). E_INVALIDARG for names and passwords that cannot be sent.
    """
    digests: list[tuple[int, Challenge]] = []
    basic = False
    for challenge in challenges:
        if challenge.scheme == "digest":
            strength = _strength(challenge)
            if strength:
                digests.append((strength, challenge))
        elif challenge.scheme == "basic" and allow_basic:
            basic = True
    if digests:
        strongest = max(digests, key=lambda pair: pair[0])[1]  # the first one of the strongest
        return _digest(strongest.parameters, user, password, method, target)
    return basic_credentials(user, password) if basic else None


def _strength(challenge: Challenge) -> int:
    """How strong a Digest challenge is; 0 where it cannot be answered."""
    parameters = challenge.parameters
    algorithm = parameters.get("algorithm", "MD5").upper().removesuffix("-SESS")
    if "realm" not in parameters or "nonce" not in parameters:
        return 0
    if any(re.search(r"[\x00-\x1f\x7f]", value) for value in parameters.values()):
        return 0
    if "qop" in parameters:
        if "auth" not in [name.strip().lower() for name in parameters["qop"].split(",")]:
            return 0
    elif algorithm != "MD5" or parameters.get("algorithm", "MD5").upper() == "MD5-SESS":
        return 0  # only the oldest form has none (RFC 2069)
    return _STRENGTH.get(algorithm, 0)


def _octets(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise errors.invalid_argument("a user name or password is no text that UTF-8 can carry") from None


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _digest(parameters: Mapping[str, str], user: str, password: str, method: str, target: str) -> str:
    algorithm = parameters.get("algorithm", "MD5")
    kind = hashlib.sha256 if algorithm.upper().startswith("SHA-256") else hashlib.md5

    def digest(text: str) -> str:
        return kind(_octets(text), usedforsecurity=False).hexdigest()

    if re.search(r"[\x00-\x1f\x7f]", user):
        raise errors.invalid_argument("Digest authentication takes no control characters in a user name")
    realm, nonce = parameters["realm"], parameters["nonce"]
    cnonce = base64.urlsafe_b64encode(os.urandom(24)).decode()
    secret = digest(f"{user}:{realm}:{password}")
    if algorithm.upper().endswith("-SESS"):
        secret = digest(f"{secret}:{nonce}:{cnonce}")
    request = digest(f"{method}:{target}")
    has_qop = "qop" in parameters
    middle = f"{nonce}:00000001:{cnonce}:auth" if has_qop else nonce
    parts = [_username(parameters, user, digest), f"realm={_quoted(realm)}", f"nonce={_quoted(nonce)}"]
    response = digest(f"{secret}:{middle}:{request}")
    parts += [f"uri={_quoted(target)}", f'response="{response}"']
    if "algorithm" in parameters:
        parts.append(f"algorithm={algorithm}")
    if "opaque" in parameters:
        parts.append(f"opaque={_quoted(parameters['opaque'])}")
    if has_qop:
        parts += ["qop=auth", "nc=00000001", f"cnonce={_quoted(cnonce)}"]
    if parameters.get("userhash", "").lower() == "true":
        parts.append("userhash=true")
    return "Digest " + ", ".join(parts)


def _username(parameters: Mapping[str, str], user: str, digest: Callable[[str], str]) -> str:
    if parameters.get("userhash", "").lower() == "true":
        hashed = digest(f"{user}:{parameters['realm']}")
        return f'username="{hashed}"'
    if user.isascii():
        return f"username={_quoted(user)}"
    return f"username*=UTF-8''{quote(user, safe='')}"
