"""The compiled C programs, once for each module of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from moorings.benchmarks.processes import Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with Workshop() as made:
        yield made


@pytest.fixture(params=["compiled", "python"])
def generator(request: pytest.FixtureRequest, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """The workshop with the generator in C, and with the one in Python."""
    if request.param == "compiled" and not workshop.has_c:
        pytest.skip("no C compiler")
    monkeypatch.setattr(workshop, "has_c_tls", request.param == "compiled" and workshop.has_c_tls)
    monkeypatch.setattr(workshop, "has_c", request.param == "compiled")
    return workshop
