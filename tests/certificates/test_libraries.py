"""Without the extra `tls` everything imports, and what needs it says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BLOCKED = """
import sys
for name in ("cryptography", "OpenSSL", "service_identity"):
    sys.modules[name] = None
import moorings
import winrt.windows.security.cryptography.certificates as certificates
import moorings.certificates.trust, moorings.certificates.validation, moorings.certificates.stores
from moorings.certificates.trust import TrustAnchors
"""

CALLS = {
    "construction": "certificates.Certificate(b'x')",
    "from_pem": "certificates.Certificate.from_pem(b'x')",
    "from_pfx": "certificates.Certificate.from_pfx(b'x')",
    "find_all": "certificates.CertificateStores.find_all_async().get()",
    "validating": "moorings.certificates.validation.find_errors(b'x', (), server_name=None, anchors=TrustAnchors())",
    "trusting": "TrustAnchors(certificates=[b'x']).ders()",
}


@pytest.mark.parametrize("call", CALLS)
def test_the_error_names_the_extra(call: str, tmp_path: Path) -> None:
    catch = "except OSError as error:\n    print(hex(error.winerror + 2**32), error.reason)"
    code = f"{BLOCKED}\ntry:\n    {CALLS[call]}\n{catch}"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_DATA_HOME": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("0x80070032 "), result.stdout + result.stderr
    assert "cryptography (pip install 'moorings[tls]')" in result.stdout


def test_importing_the_room_imports_none_of_it() -> None:
    code = (
        "import sys, moorings, moorings.certificates.chain, moorings.certificates.stores, "
        "moorings.certificates.enrollment, moorings.certificates.validation\n"
        "assert not {'cryptography', 'OpenSSL', 'service_identity'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=50, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    )
