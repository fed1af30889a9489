"""User names with passwords: `PasswordCredential`."""

from __future__ import annotations

from typing import Any, overload

from moorings import errors
from moorings.foundation.maps import PropertySet
from moorings.foundation.projection import Object, check_str, final, invalid_parameter_count

__all__ = ["PasswordCredential"]


@final
class PasswordCredential(Object):
    """A user name and a password for something named `resource`, such as a server.

    `PasswordCredential(resource, user_name, password)`, or without arguments, to be filled in. It is kept nowhere, and
    its text does not show the password. Errors: TypeError for other types; E_INVALIDARG for a resource or a user name
    that is "". Source: WinRT PasswordCredential.
    """

    __slots__ = ("__weakref__", "_password", "_properties", "_resource", "_user_name")
    _winrt_name_ = "Windows.Security.Credentials.PasswordCredential"
    __arities__ = frozenset((0, 3))

    @overload
    def __init__(self) -> None: ...
    @overload
    def __init__(self, resource: str, user_name: str, password: str, /) -> None: ...
    def __init__(self, *arguments: Any) -> None:
        if len(arguments) not in {0, 3}:
            raise invalid_parameter_count()
        self._resource = self._user_name = self._password = ""
        self._properties: PropertySet | None = None
        if arguments:
            self.resource, self.user_name, self.password = arguments

    @property
    def resource(self) -> str:
        """What it is for; a name that means nothing to WebSockets."""
        return self._resource

    @resource.setter
    def resource(self, value: str) -> None:
        self._resource = _filled(value, "resource")

    @property
    def user_name(self) -> str:
        """The name of the user."""
        return self._user_name

    @user_name.setter
    def user_name(self, value: str) -> None:
        self._user_name = _filled(value, "user_name")

    @property
    def password(self) -> str:
        """The password; it may be ""."""
        return self._password

    @password.setter
    def password(self, value: str) -> None:
        self._password = check_str(value, "password")

    def retrieve_password(self) -> None:
        """Fill `password` in, where a vault made this; there is none, so it changes nothing."""

    @property
    def properties(self) -> PropertySet:
        """Values of the program's own; the same map each time."""
        if self._properties is None:
            self._properties = PropertySet()
        return self._properties

    def __repr__(self) -> str:
        return f"<PasswordCredential of {self._user_name!r} for {self._resource!r}>"


def _filled(value: str, name: str) -> str:
    if not check_str(value, name):
        raise errors.invalid_argument(f"PasswordCredential: {name} must not be empty")
    return value
