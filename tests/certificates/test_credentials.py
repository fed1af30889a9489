"""PasswordCredential."""

from __future__ import annotations

from typing import Any

import pytest

from moorings import errors
from moorings.foundation.maps import PropertySet
from winrt.windows.security.credentials import PasswordCredential


def test_it_keeps_what_it_is_given_and_does_not_show_the_password() -> None:
    credential = PasswordCredential("server", "user", "secret")
    assert (credential.resource, credential.user_name, credential.password) == ("server", "user", "secret")
    credential.retrieve_password()
    assert credential.password == "secret"
    assert "secret" not in f"{credential!r} {credential}"
    assert isinstance(credential.properties, PropertySet)
    assert credential.properties is credential.properties


def test_it_can_be_filled_in_later() -> None:
    credential = PasswordCredential()
    assert (credential.resource, credential.user_name, credential.password) == ("", "", "")
    credential.resource, credential.user_name, credential.password = "a", "b", ""
    assert (credential.resource, credential.user_name, credential.password) == ("a", "b", "")


@pytest.mark.parametrize("arguments", [("a",), ("a", "b"), ("a", "b", "c", "d"), (1, "b", "c"), ("a", "b", None)])
def test_wrong_types_and_numbers(arguments: Any) -> None:
    with pytest.raises(TypeError):
        PasswordCredential(*arguments)


def test_what_must_not_be_empty() -> None:
    for arguments in (("", "b", "c"), ("a", "", "c")):
        with pytest.raises(OSError, match="must not be empty") as caught:
            PasswordCredential(*arguments)
        assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG
