from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.certificates.bad_certificates import R, intermediate, make_crl, root
from tests.certificates.certificate_factory import DAY, NOW, SERVER_NAME, Made, make_server

from moorings import HostName, errors
from moorings.certificates.certificate import Certificate, certificate_der
from moorings.certificates.chain import CertificateChain, ChainBuildingParameters, ChainValidationParameters
from moorings.certificates.enums import CertificateChainPolicy, ChainValidationResult
from moorings.certificates.pem import to_pem
from moorings.certificates.stores import CertificateStores

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("nobody")


def only_root(**settings: Any) -> ChainBuildingParameters:
    parameters = ChainBuildingParameters()
    parameters.exclusive_trust_roots.append(Certificate(root().der))
    for name, value in settings.items():
        setattr(parameters, name, value)
    return parameters


async def build(server: Made, *others: Made, parameters: ChainBuildingParameters | None = None) -> CertificateChain:
    given = [Certificate(made.der) for made in others]
    return await Certificate(server.der).build_chain_async(given, parameters or only_root())


def for_server(name: str | None) -> ChainValidationParameters:
    parameters = ChainValidationParameters()
    parameters.certificate_chain_policy = CertificateChainPolicy.SSL
    parameters.server_dns_name = None if name is None else HostName(name)
    return parameters


async def test_a_good_chain() -> None:
    server = make_server(intermediate())
    chain = await build(server, intermediate())
    assert chain.validate() == R.SUCCESS
    assert chain.validate(for_server(SERVER_NAME)) == R.SUCCESS
    assert chain.validate(for_server(None)) == R.SUCCESS
    ders = [certificate_der(certificate) for certificate in chain.get_certificates(True)]
    assert ders == [server.der, intermediate().der, root().der]
    assert len(chain.get_certificates(False)) == 2


async def test_the_name_counts_for_the_policy_of_servers_only() -> None:
    chain = await build(make_server(root()))
    assert chain.validate(for_server("other.example")) == R.INVALID_NAME
    assert chain.find_errors(for_server("other.example")) == (R.INVALID_NAME,)
    assert chain.validate() == R.SUCCESS


async def test_of_several_errors_the_first_fatal_one() -> None:
    chain = await build(make_server(None, until=NOW - DAY))
    assert chain.find_errors() == (R.UNTRUSTED, R.EXPIRED)
    assert chain.validate() == R.UNTRUSTED


async def test_incomplete() -> None:
    chain = await build(make_server(intermediate()))
    assert chain.validate() == R.INCOMPLETE_CHAIN
    assert len(chain.get_certificates(True)) == len(chain.get_certificates(False)) == 1


async def test_moments() -> None:
    server = make_server(root(), until=NOW - DAY)
    assert (await build(server)).validate() == R.EXPIRED
    assert (await build(server, parameters=only_root(validation_timestamp=NOW - 2 * DAY))).validate() == R.SUCCESS
    assert (await build(server, parameters=only_root(current_time_validation_enabled=False))).validate() == R.SUCCESS


async def test_usages() -> None:
    parameters = only_root()
    parameters.enhanced_key_usages.append("1.3.6.1.5.5.7.3.1")
    assert (await build(make_server(root()), parameters=parameters)).validate() == R.SUCCESS
    parameters.enhanced_key_usages.append("1.3.6.1.5.5.7.3.3")
    assert (await build(make_server(root()), parameters=parameters)).validate() == R.WRONG_USAGE


async def test_revocation() -> None:
    server = make_server(root())
    parameters = only_root(revocation_check_enabled=True)
    assert (await build(server, parameters=parameters)).validate() == R.REVOCATION_INFORMATION_MISSING
    parameters.crls.append(make_crl(root(), server))
    assert (await build(server, parameters=parameters)).validate() == R.REVOKED


async def test_the_system_and_the_stores_help(nobody: Path) -> None:
    server = Certificate(make_server(intermediate()).der)
    assert (await server.build_chain_async([])).validate() == R.INCOMPLETE_CHAIN
    CertificateStores.intermediate_certification_authorities.add(Certificate(intermediate().der))
    assert (await server.build_chain_async([])).validate() == R.UNTRUSTED
    CertificateStores.trusted_root_certification_authorities.add(Certificate(root().der))
    chain = await server.build_chain_async([])
    assert chain.validate() == R.SUCCESS
    assert [item.subject for item in chain.get_certificates(True)][1:] == [
        "Intermediate of the tests",
        "Root of the tests",
    ]
    CertificateStores.trusted_root_certification_authorities.delete(Certificate(root().der))
    (nobody / "file").write_bytes(to_pem(root().der))
    assert (await server.build_chain_async([])).validate() == R.SUCCESS


async def test_its_own_chain_helps() -> None:
    server = make_server(intermediate())
    certificate = Certificate(to_pem(server.der) + to_pem(intermediate().der))
    assert (await certificate.build_chain_async([], only_root())).validate() == R.SUCCESS


async def test_other_policies() -> None:
    chain = await build(make_server(root()))
    parameters = ChainValidationParameters()
    parameters.certificate_chain_policy = CertificateChainPolicy.NT_AUTHENTICATION
    with pytest.raises(OSError) as error:
        chain.validate(parameters)
    assert error.value.winerror == errors.ERROR_NOT_SUPPORTED  # type: ignore[attr-defined]


async def test_wrong_arguments() -> None:
    certificate = Certificate(root().der)
    for arguments in ((), (1, 2, 3)):
        with pytest.raises(TypeError, match="invalid parameter count"):
            certificate.build_chain_async(*arguments)
    with pytest.raises(OSError):
        certificate.build_chain_async(None)
    with pytest.raises(TypeError):
        certificate.build_chain_async([root().der])
    with pytest.raises(TypeError):
        certificate.build_chain_async([], 5)
    with pytest.raises(TypeError, match="cannot create"):
        CertificateChain()
    with pytest.raises(TypeError):
        ChainBuildingParameters().exclusive_trust_roots.append(root().der)  # type: ignore[arg-type]


async def test_names_of_the_3_line() -> None:
    certificate = Certificate(root().der)
    with pytest.warns(DeprecationWarning, match="build_chain_async"):
        chain = await certificate.build_chain_with_parameters_async([], only_root())
    with pytest.warns(DeprecationWarning, match="use validate"):
        assert chain.validate_with_parameters(ChainValidationParameters()) == ChainValidationResult.SUCCESS


def test_defaults() -> None:
    parameters = ChainBuildingParameters()
    assert parameters.authority_information_access_enabled
    assert parameters.current_time_validation_enabled
    assert parameters.network_retrieval_enabled
    assert not parameters.revocation_check_enabled
    assert parameters.validation_timestamp.tzinfo is not None
    assert ChainValidationParameters().certificate_chain_policy == CertificateChainPolicy.BASE
    assert ChainValidationParameters().server_dns_name is None


def test_in_a_plain_script() -> None:
    assert Certificate(root().der).build_chain_async([], only_root()).get().validate() == R.SUCCESS
