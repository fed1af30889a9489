"""A Griffe extension: makes the docstrings of the sources read well as pages of the reference."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from griffe import Docstring, Extension

if TYPE_CHECKING:
    from griffe import Attribute, Object

#: What docstrings say after the description, run on in the same paragraph.
CLAUSE = re.compile(r"(?:^|\s+)(Errors|Cancellation|Source): ")


class Fields(Extension):
    """Descriptions of struct fields, and a paragraph for each clause."""

    def on_attribute_instance(self, *, node: ast.AST | Any, attr: Attribute, **_kwargs: Any) -> None:
        """A field of a WinRT struct has its description as an argument: `uint_field(32, "...")`."""
        value = getattr(node, "value", None)
        if attr.docstring is not None or not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
            return
        if not value.func.id.endswith("_field"):
            return
        for argument in value.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                attr.docstring = Docstring(argument.value, parent=attr)

    def on_instance(self, *, obj: Object, **_kwargs: Any) -> None:
        """Errors, cancellation and source stand in paragraphs of their own."""
        if obj.docstring is not None:
            obj.docstring.value = CLAUSE.sub(r"\n\n**\1:** ", obj.docstring.value).strip()
