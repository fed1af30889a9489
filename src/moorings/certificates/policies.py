"""Certificate policies along a path (RFC 5280 section 6.1), with any policy acceptable to the program.

Then only one thing can go wrong: an authority demands a policy (`requireExplicitPolicy`), and below it none is left
that every certificate has. So it is enough to follow the set of policies that are still valid, without the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from moorings.certificates.der import oid_pairs
from moorings.certificates.parsed import LIBRARY_ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["violates_policies"]

_ANY: Final = "2.5.29.32.0"
_MAPPINGS: Final = "2.5.29.33"
#: Policies and mappings of one certificate; more are refused.
POLICIES_LIMIT: Final = 256


class _State:
    """The variables of RFC 5280 section 6.1.2; a counter at 0 has taken effect."""

    __slots__ = ("any_inhibited", "explicit", "mapping_inhibited", "valid")

    def __init__(self, length: int) -> None:
        self.valid = {_ANY}
        self.explicit = self.any_inhibited = self.mapping_inhibited = length + 1


def violates_policies(path: Sequence[ParsedCertificate]) -> bool:
    """Whether the certificates of *path* (leaf first, without the trust anchor) break what one of them demands."""
    state = _State(len(path))
    try:
        for position in range(len(path) - 1, -1, -1):
            certificate = path[position]
            _take_policies(state, certificate, is_leaf=position == 0)
            if not state.explicit and not state.valid:
                return True
            if position:
                _take_mappings(state, certificate)
            _take_constraints(state, certificate, is_leaf=position == 0)
    except _PolicyError:
        return True
    return not state.explicit and not state.valid


class _PolicyError(Exception):
    """A policy extension that RFC 5280 forbids, or too much of it."""


def _take_policies(state: _State, certificate: ParsedCertificate, *, is_leaf: bool) -> None:
    extension = certificate.extension(x509.CertificatePolicies)
    if extension is None:
        state.valid = set()
        return
    named = [information.policy_identifier.dotted_string for information in extension]
    if len(named) > POLICIES_LIMIT or len(set(named)) != len(named):
        raise _PolicyError
    valid = {policy for policy in named if policy != _ANY and (policy in state.valid or _ANY in state.valid)}
    if _ANY in named and (state.any_inhibited or (not is_leaf and certificate.is_self_issued)):
        valid |= state.valid
    state.valid = valid


def _take_mappings(state: _State, certificate: ParsedCertificate) -> None:
    extension = certificate.extensions.get(_MAPPINGS)
    if extension is None:
        return
    try:
        pairs = oid_pairs(extension.value.public_bytes())
    except LIBRARY_ERRORS as error:
        raise _PolicyError from error
    if len(pairs) > POLICIES_LIMIT or any(_ANY in pair for pair in pairs):
        raise _PolicyError
    sources = {source for source, _ in pairs}
    kept = state.valid - sources
    if state.mapping_inhibited:
        kept |= {target for source, target in pairs if source in state.valid or _ANY in state.valid}
    state.valid = kept


def _take_constraints(state: _State, certificate: ParsedCertificate, *, is_leaf: bool) -> None:
    if is_leaf or not certificate.is_self_issued:
        state.explicit = max(state.explicit - 1, 0)
        state.mapping_inhibited = max(state.mapping_inhibited - 1, 0)
        state.any_inhibited = max(state.any_inhibited - 1, 0)
    constraints = certificate.extension(x509.PolicyConstraints)
    if constraints is not None:
        if constraints.require_explicit_policy is not None and (not is_leaf or not constraints.require_explicit_policy):
            state.explicit = min(state.explicit, constraints.require_explicit_policy)
        if constraints.inhibit_policy_mapping is not None:
            state.mapping_inhibited = min(state.mapping_inhibited, constraints.inhibit_policy_mapping)
    inhibit = certificate.extension(x509.InhibitAnyPolicy)
    if inhibit is not None:
        state.any_inhibited = min(state.any_inhibited, inhibit.skip_certs)
