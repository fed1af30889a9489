"""Each kind of bad certificate gives exactly its errors; OpenSSL, where it can judge, says the same."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.certificates.bad_certificates import KINDS, BadChain, make
from tests.certificates.openssl_oracle import NotJudgedError, openssl_results, standard_library_code

from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.pem import to_pem
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import find_errors, severity_of
from moorings.certificates.verify_codes import result_of_verify_code

if TYPE_CHECKING:
    from pathlib import Path


def errors_of(chain: BadChain) -> tuple[int, ...]:
    return find_errors(
        chain.chain[0],
        chain.chain[1:],
        server_name=chain.server_name,
        anchors=TrustAnchors(certificates=chain.roots),
        crls=chain.crls,
        ocsp_response=chain.ocsp_response,
        check_revocation=chain.check_revocation,
    )


SERVED = [kind for kind in KINDS if make(kind).can_be_served]
R = ChainValidationResult


@pytest.mark.parametrize("kind", KINDS)
def test_exact_set_and_severity(kind: str) -> None:
    chain = make(kind)
    found = errors_of(chain)
    assert found == chain.expected
    assert severity_of(found) == chain.severity


def test_there_are_enough_kinds() -> None:
    assert sum(bool(make(kind).expected) for kind in KINDS) > 50


@pytest.mark.parametrize("kind", SERVED)
def test_openssl_finds_the_same(kind: str) -> None:
    """All that a callback of pyOpenSSL is told; names apart, which it checks only when the handshake says so."""
    chain = make(kind)
    ours = set(chain.expected) - {R.INVALID_NAME} | set(chain.more_in_openssl)
    assert openssl_results(chain) == ours - set(chain.less_in_openssl)


@pytest.mark.parametrize("kind", [kind for kind in SERVED if not make(kind).check_revocation])
def test_the_standard_library_refuses_for_one_of_the_same_reasons(kind: str) -> None:
    chain = make(kind)
    code = standard_library_code(chain)
    found = result_of_verify_code(code, sent_intermediates=len(chain.chain) > 1)
    allowed = set(chain.expected) | set(chain.more_in_openssl)
    if set(chain.expected) <= set(chain.less_in_openssl):
        # What OpenSSL does not look at is no reason for it, but nothing else is.
        allowed |= {R.SUCCESS}
    assert found in (allowed or {R.SUCCESS})


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(SERVED)))
def test_openssl_takes_no_such_octets(kind: str) -> None:
    with pytest.raises(NotJudgedError):
        openssl_results(make(kind))


def test_openssl_knows_policies_when_it_is_told_to(tmp_path: Path) -> None:
    chain = make("policy_missing")
    for name, der in (("leaf", chain.chain[0]), ("between", chain.chain[1]), ("root", chain.roots[0])):
        (tmp_path / name).write_bytes(to_pem(der))
    files = ["-CAfile", "root", "-untrusted", "between", "leaf"]
    command = ["openssl", "verify", "-policy_check", *files]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20)
    assert "error 43 " in result.stdout + result.stderr
    assert subprocess.run(["openssl", "verify", *files], cwd=tmp_path, capture_output=True, check=False).returncode == 0
