"""`CertificateChain`, and the parameters for building and validating one."""

# pyright: reportPrivateUsage=false
# The functions below the classes make their objects; as methods they would be part of the public surface.

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.certificates.certificate import (
    Certificate,
    certificate_der,
    chain_ders,
    make_certificate,
    parsed_certificate,
)
from moorings.certificates.enums import CertificateChainPolicy, ChainValidationResult
from moorings.certificates.pem import split_pem
from moorings.certificates.store_folders import StoreFolder
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import find_path
from moorings.certificates.verify_codes import sorted_results, worst_of
from moorings.foundation.projection import (
    Object,
    arities,
    check_datetime,
    check_enum,
    check_object,
    check_optional,
    check_str,
    deprecated_alias,
    final,
    invalid_parameter_count,
    not_constructible,
)
from moorings.foundation.vectors import Vector, VectorView
from moorings.names.host_name import HostName

if TYPE_CHECKING:
    from collections.abc import MutableSequence, Sequence

    from moorings.certificates.judging import Judgement
    from moorings.certificates.validation import Purpose

__all__ = ["CertificateChain", "ChainBuildingParameters", "ChainValidationParameters"]


def _check_certificate(value: Any) -> Certificate:
    return check_object(value, Certificate, "exclusive_trust_roots")


def _check_usage(value: Any) -> str:
    return check_str(value, "enhanced_key_usages")


def _check_octets(value: Any) -> bytes:
    return bytes(memoryview(value))


@final
class ChainBuildingParameters(Object):
    """How `Certificate.build_chain_async` finds and judges a chain. Source: WinRT ChainBuildingParameters."""

    __slots__ = (
        "__weakref__",
        "_crls",
        "_roots",
        "_timestamp",
        "_usages",
        "authority_information_access_enabled",
        "current_time_validation_enabled",
        "network_retrieval_enabled",
        "revocation_check_enabled",
    )
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.ChainBuildingParameters"

    def __init__(self) -> None:
        #: Default True, and without effect: this library fetches no certificates from the network.
        self.authority_information_access_enabled = True
        #: Default True; False takes certificates that have expired, or are not valid yet.
        self.current_time_validation_enabled = True
        #: Default True, and without effect: this library fetches nothing from the network.
        self.network_retrieval_enabled = True
        #: Default False. True asks `crls`, and finds REVOCATION_INFORMATION_MISSING where they have no answer.
        self.revocation_check_enabled = False
        self._timestamp: datetime | None = None
        self._usages = Vector[str]((), _check_usage)
        self._roots = Vector[Certificate]((), _check_certificate)
        self._crls = Vector[bytes]((), _check_octets)

    @property
    def validation_timestamp(self) -> datetime:
        """The moment for which the chain is judged, in UTC; the present until it is set."""
        return self._timestamp or check_datetime(datetime.now().astimezone(), "now")

    @validation_timestamp.setter
    def validation_timestamp(self, value: datetime) -> None:
        self._timestamp = check_datetime(value, "validation_timestamp")

    @property
    def enhanced_key_usages(self) -> MutableSequence[str]:
        """Object identifiers that the certificate must have, where it is restricted at all; always the same list."""
        return self._usages

    @property
    def exclusive_trust_roots(self) -> MutableSequence[Certificate]:
        """The only certificates to trust, where there are any; always the same list."""
        return self._roots

    @property
    def crls(self) -> MutableSequence[bytes]:
        """Certificate revocation lists in DER, not on Windows; always the same list."""
        return self._crls


@final
class ChainValidationParameters(Object):
    """What `CertificateChain.validate` checks on top. Source: WinRT ChainValidationParameters."""

    __slots__ = ("__weakref__", "_name", "_policy")
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.ChainValidationParameters"

    def __init__(self) -> None:
        self._policy = CertificateChainPolicy.BASE
        self._name: HostName | None = None

    @property
    def certificate_chain_policy(self) -> CertificateChainPolicy:
        """BASE (default): no usage and no name; SSL: a TLS server's certificate. Others fail in `validate`."""
        return self._policy

    @certificate_chain_policy.setter
    def certificate_chain_policy(self, value: CertificateChainPolicy) -> None:
        self._policy = check_enum(value, CertificateChainPolicy, "certificate_chain_policy")

    @property
    def server_dns_name(self) -> HostName | None:
        """The name of the server, for the policy SSL; None (default) checks no name."""
        return self._name

    @server_dns_name.setter
    def server_dns_name(self, value: HostName | None) -> None:
        self._name = check_optional(value, HostName, "server_dns_name")


@final
@not_constructible
class CertificateChain(Object):
    """A certificate with those that vouch for it, as `Certificate.build_chain_async` found them.

    Source: WinRT CertificateChain.
    """

    __slots__ = ("__weakref__", "_anchors", "_intermediates", "_leaf", "_moment", "_parameters", "_path")
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.CertificateChain"

    _leaf: Certificate
    _intermediates: tuple[bytes, ...]
    _anchors: TrustAnchors
    _parameters: ChainBuildingParameters
    _moment: datetime
    _path: tuple[Certificate, ...]

    @arities(0, 1)
    def validate(self, *arguments: Any) -> ChainValidationResult:
        """`validate()`, or `validate(parameter)` with ChainValidationParameters: SUCCESS, or what is wrong.

        Of several errors it is the first fatal one, else the first; `find_errors` has them all. Errors:
        ERROR_NOT_SUPPORTED 0x80070032 for the policies NT_AUTHENTICATION and MICROSOFT_ROOT.
        """
        return worst_of(self.find_errors(*arguments))

    validate_with_parameters = deprecated_alias("validate")

    def find_errors(self, *arguments: Any) -> tuple[ChainValidationResult, ...]:
        """All that is wrong, in the order of the numbers; not on Windows. Arguments and errors as for `validate`."""
        if len(arguments) > 1:
            raise invalid_parameter_count()
        parameter = check_object(arguments[0], ChainValidationParameters, "parameter") if arguments else None
        policy = CertificateChainPolicy.BASE if parameter is None else parameter.certificate_chain_policy
        name: str | None = None
        if policy == CertificateChainPolicy.SSL:
            host = None if parameter is None else parameter.server_dns_name
            name = None if host is None else host.canonical_name
            return _judge(self, "server", name).errors
        if policy == CertificateChainPolicy.BASE:
            return _judge(self, "any", None).errors
        raise errors.not_supported(f"CertificateChain.validate with {policy!r}", "the policy of a Windows domain")

    def get_certificates(self, include_root: bool, /) -> Sequence[Certificate]:
        """The certificates, the one the chain was built for first; without the last one, the root, on request."""
        has_root = len(self._path) > 1 and _ends_as_root(self)
        return VectorView(self._path if include_root or not has_root else self._path[:-1])


def _ends_as_root(chain: CertificateChain) -> bool:
    last = parsed_certificate(chain._path[-1])
    return last.looks_self_signed or chain._anchors.contains(last)


def _judge(chain: CertificateChain, purpose: Purpose, server_name: str | None) -> Judgement:
    parameters = chain._parameters
    judged = find_path(
        certificate_der(chain._leaf),
        chain._intermediates,
        server_name=server_name,
        anchors=chain._anchors,
        now=chain._moment,
        purpose=purpose,
        crls=tuple(parameters.crls),
        check_revocation=parameters.revocation_check_enabled,
    )
    found = set(judged.errors)
    if not parameters.current_time_validation_enabled:
        found.discard(ChainValidationResult.EXPIRED)
    allowed = chain._leaf.enhanced_key_usages
    if allowed and not set(parameters.enhanced_key_usages) <= set(allowed):
        found.add(ChainValidationResult.WRONG_USAGE)
    return judged._replace(errors=sorted_results(found))


async def build_chain(
    leaf: Certificate, given: Sequence[Certificate], parameters: ChainBuildingParameters | None
) -> CertificateChain:
    """The chain of *leaf* with the help of *given* and the user's store CA. Errors: OSError."""
    chosen = parameters or ChainBuildingParameters()
    chain = object.__new__(CertificateChain)
    chain._leaf = leaf
    helpers = [certificate_der(certificate) for certificate in given]
    helpers += chain_ders(leaf)
    chain._parameters = chosen
    chain._moment = chosen.validation_timestamp
    roots = list(chosen.exclusive_trust_roots)
    chain._anchors = TrustAnchors(certificates=map(certificate_der, roots)) if roots else TrustAnchors.system()
    chain._intermediates = tuple(dict.fromkeys((*helpers, *stored_authorities())))
    judged = _judge(chain, "any", None)
    known = {certificate_der(certificate): certificate for certificate in (leaf, *given, *roots)}
    chain._path = tuple(known.get(item.der) or make_certificate(item.der) for item in judged.path)
    return chain


def stored_authorities() -> list[bytes]:
    """The certificates of the user's store CA in DER."""
    return [der for entry in StoreFolder("CA").entries() for der in split_pem(entry.certificate)[:1]]
