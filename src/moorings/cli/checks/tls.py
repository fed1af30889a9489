"""TLS: which OpenSSL, the packages for certificates, and whom this machine trusts."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from moorings import TrustAnchors, errors
from moorings.certificates.libraries import TLS_EXTRA
from moorings.cli.checks.model import Finding, missing, off, ok

if TYPE_CHECKING:
    from moorings.cli.checks.machine import Machine

#: The packages of the extra `tls`.
PACKAGES = ("cryptography", "pyOpenSSL", "service-identity")
#: What takes the place of the paths that OpenSSL was built with (openssl-env(7)).
TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class Trusted(NamedTuple):
    """Whom OpenSSL trusts here."""

    places: tuple[str, ...]
    authorities: int


def openssl(machine: Machine) -> Finding:
    """The library that Python was built with, and the newest version that it speaks."""
    version = machine.openssl_version()
    if not ssl.HAS_TLSv1_3:
        return off(f"{version}, without TLS 1.3", "a Python that was built with OpenSSL 1.1.1 or newer")
    return ok(f"{version}, TLS 1.2 and 1.3")


def extra(machine: Machine) -> Finding:
    """Servers, certificates of clients, and what a certificate's errors are need packages of their own."""
    found = {name: machine.find_version(name) for name in PACKAGES}
    there = ", ".join(f"{name} {version}" for name, version in found.items() if version is not None)
    absent = [name for name, version in found.items() if version is None]
    if absent:
        return missing(f"no {', no '.join(absent)}{'; ' if there else ''}{there}", TLS_EXTRA)
    return ok(there)


def trust(machine: Machine) -> Finding:
    """Without authorities no server can be trusted, but for those that a program names."""
    found = machine.trusted()
    places = " and ".join(found.places)
    variables = [f"{name} is {machine.environ[name]}" for name in TRUST_VARIABLES if machine.environ.get(name)]
    note = f" ({', '.join(variables)})" if variables else ""
    if not found.authorities:
        where = f"none in {places}" if places else "there is no file and no directory of them"
        install = f"unset {' '.join(TRUST_VARIABLES)}" if variables else "apt install ca-certificates"
        return missing(f"{where}{note}", install)
    count = "1 authority" if found.authorities == 1 else f"{found.authorities} authorities"
    return ok(f"{count}, in {places}{note}")


def trusted_here() -> Trusted:
    """What the library trusts on this machine where a program names nobody."""
    anchors = TrustAnchors.system()
    places = (*anchors.files, *anchors.directories)
    try:
        return Trusted(places, len(anchors.ders()))
    except errors.CodedError as error:
        if error.winerror != errors.ERROR_NOT_SUPPORTED:
            raise
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the extra `tls`: OpenSSL counts those in files
    anchors.load_into(context)
    return Trusted(places, context.cert_store_stats()["x509"])
