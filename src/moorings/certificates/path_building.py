"""All the ways from a certificate up to a root, the likely ones first, within limits.

A server sends certificates in any order, too many, or several with one name (cross-signed authorities), so the chain is
searched for, not taken as sent. What a hostile server can make of that is bounded: length of a path, steps of the
search, paths, and checks of signatures. Sources: RFC 4158; RFC 5280 section 6.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from moorings.certificates.parsed import may_have_issued, verifies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moorings.certificates.parsed import ParsedCertificate
    from moorings.certificates.trust import TrustAnchors

__all__ = ["PathEnd", "PathSearch", "TrustPath"]

#: Certificates of one path, the leaf and the root included.
PATH_LENGTH_LIMIT: Final = 16
#: Paths that are looked at for one leaf.
PATHS_LIMIT: Final = 64
#: Steps of the search for one leaf.
SEARCH_STEPS_LIMIT: Final = 2048
#: Signatures that are checked for one leaf.
SIGNATURE_CHECKS_LIMIT: Final = 100


class PathEnd(IntEnum):
    """How a path ends."""

    TRUSTED = 0
    SELF_SIGNED = 1
    NO_ISSUER = 2
    TOO_LONG = 3


class TrustPath(NamedTuple):
    """A path, leaf first."""

    certificates: tuple[ParsedCertificate, ...]
    end: PathEnd


class PathSearch:
    """The search for one leaf. `exhausted` says whether a limit has cut it short."""

    def __init__(
        self, leaf: ParsedCertificate, intermediates: Sequence[ParsedCertificate], anchors: TrustAnchors
    ) -> None:
        self._leaf = leaf
        self._intermediates = [certificate for certificate in dict.fromkeys(intermediates) if certificate != leaf]
        self._anchors = anchors
        self._steps = 0
        self._signatures: dict[tuple[ParsedCertificate, ParsedCertificate], bool] = {}
        self.exhausted = False

    def paths(self) -> Iterator[TrustPath]:
        """The paths, at least one; those with valid signatures and current certificates tend to come first."""
        for count, path in enumerate(self._extend((self._leaf,))):
            if count >= PATHS_LIMIT:
                self.exhausted = True
                return
            yield path

    def is_signed(self, child: ParsedCertificate, issuer: ParsedCertificate) -> bool:
        """Whether the key of *issuer* signed *child*; checked once. False beyond the limit, which `exhausted` tells."""
        known = self._signatures.get((child, issuer))
        if known is None:
            if len(self._signatures) >= SIGNATURE_CHECKS_LIMIT:
                self.exhausted = True
                return False
            known = self._signatures[child, issuer] = verifies(child, issuer)
        return known

    def _extend(self, path: tuple[ParsedCertificate, ...]) -> Iterator[TrustPath]:
        self._steps += 1
        last = path[-1]
        if self._anchors.contains(last):
            yield TrustPath(path, PathEnd.TRUSTED)
            return
        if last.looks_self_signed:
            yield TrustPath(path, PathEnd.SELF_SIGNED)
            return
        issuers = self._issuers(path)
        if issuers and len(path) >= PATH_LENGTH_LIMIT:
            yield TrustPath(path, PathEnd.TOO_LONG)
            return
        if not issuers:
            yield TrustPath(path, PathEnd.NO_ISSUER)
            return
        for issuer in issuers:
            if self._steps >= SEARCH_STEPS_LIMIT:
                self.exhausted = True
                return
            yield from self._extend((*path, issuer))

    def _issuers(self, path: tuple[ParsedCertificate, ...]) -> list[ParsedCertificate]:
        """Who may have issued the last certificate of *path*: anchors first, those that really signed it before others.

        Where somebody signed it, those who only have the name are left out: they would be further ways to fail.
        """
        last = path[-1]
        named = (*self._anchors.named(last.issuer_key), *self._intermediates)
        known = {(certificate.subject_key, certificate.parts.public_key_bits) for certificate in path}
        candidates = [
            issuer
            for issuer in dict.fromkeys(named)
            if may_have_issued(issuer, last) and (issuer.subject_key, issuer.parts.public_key_bits) not in known
        ]
        signers = [issuer for issuer in candidates if self.is_signed(last, issuer)]
        return signers or candidates
