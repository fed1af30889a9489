"""What OpenSSL finds in a chain: a handshake in memory with a callback that takes every error and goes on."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from moorings.certificates.verify_codes import result_of_verify_code

if TYPE_CHECKING:
    from tests.certificates.bad_certificates import BadChain

    from moorings.certificates.enums import ChainValidationResult

#: So that the server presents weak certificates; the client keeps level 2.
_WEAK_TOO = b"DEFAULT:@SECLEVEL=0"
_STRONG_ONLY = b"DEFAULT:@SECLEVEL=2"


class NotJudgedError(Exception):
    """OpenSSL does not get as far as to judge such a chain."""


def openssl_codes(chain: BadChain) -> set[int]:
    """The verify codes of a TLS 1.3 client for the chain, without those about names."""
    codes: set[int] = set()

    def verify(_connection: object, _certificate: object, code: int, _depth: int, _verdict: int) -> bool:
        codes.add(code)
        return True

    client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client_context.set_cipher_list(_STRONG_ONLY)
    client_context.set_verify(SSL.VERIFY_PEER, verify)
    store = client_context.get_cert_store()
    assert store is not None
    flags = crypto.X509StoreFlags.PARTIAL_CHAIN
    if chain.check_revocation:
        flags |= crypto.X509StoreFlags.CRL_CHECK
    store.set_flags(flags)
    for der in chain.roots:
        store.add_cert(crypto.X509.from_cryptography(_loaded(der)))
    for crl in chain.crls:
        store.add_crl(x509.load_der_x509_crl(crl))
    client = SSL.Connection(client_context, None)
    client.set_connect_state()
    server = SSL.Connection(_server_context(chain), None)
    server.set_accept_state()
    _shake_hands(client, server)
    return codes - {0}


def openssl_results(chain: BadChain) -> set[ChainValidationResult]:
    """The same as results."""
    sent = len(chain.chain) > 1
    return {result_of_verify_code(code, sent_intermediates=sent) for code in openssl_codes(chain)}


def _loaded(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def _server_context(chain: BadChain) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(_WEAK_TOO)
    try:
        context.use_certificate(_loaded(chain.chain[0]))
        context.use_privatekey(load_pem_private_key(chain.key_pem, None))
        for der in chain.chain[1:]:
            context.add_extra_chain_cert(_loaded(der))
    except (SSL.Error, crypto.Error, ValueError) as error:
        raise NotJudgedError from error
    return context


def standard_library_code(chain: BadChain) -> int:
    """The verify code with which a client of the module `ssl` refuses the chain, also for its name; else 0."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(_STRONG_ONLY.decode())
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for der in chain.roots:
        context.load_verify_locations(cadata=der)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=chain.server_name)
    server = SSL.Connection(_server_context(chain), None)
    server.set_accept_state()
    for _ in range(20):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            server.bio_write(outgoing.read())
            _step(server)
            incoming.write(server.bio_read(1 << 20))
        except ssl.SSLCertVerificationError as error:
            return error.verify_code
        else:
            return 0
    raise AssertionError("the handshake does not end")


def _step(connection: SSL.Connection) -> bool:
    """Go on with a handshake; whether it is done."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    except SSL.Error as error:
        raise NotJudgedError(str(error)) from error
    return True


def _shake_hands(client: SSL.Connection, server: SSL.Connection) -> None:
    for _ in range(20):
        done = [_step(side) for side in (client, server)]
        for side, other in ((client, server), (server, client)):
            try:
                other.bio_write(side.bio_read(1 << 20))
            except SSL.WantReadError:
                continue
        if all(done):
            return
    raise AssertionError("the handshake does not end")
