"""The claims of docs/threat-model.md: the tests that it names exist."""

from __future__ import annotations

import ast

import pytest
from tests.docs.documents import ROOT, code_words, table

ROWS = table("docs/threat-model.md", "attack", "shown by")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["attack"])
def test_the_tests_exist(row: dict[str, str]) -> None:
    tests = code_words(row["shown by"])
    assert tests
    for test in tests:
        file, _, function = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
