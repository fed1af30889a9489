"""Every code block of every document is run by a test. What to do where one is not stands in `claims.py`."""

from __future__ import annotations

import ast
from functools import cache

import pytest
from tests.docs import claims
from tests.docs.documents import ROOT, Block, all_blocks, blocks_of

BLOCKS = all_blocks()
WAYS = {claims.ENDS_WELL, claims.UNTIL_INTERRUPTED, claims.WITH_ECHO_SERVER}


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_run_by_a_test(block: Block) -> None:
    if claims.claim(block) is None:
        pytest.fail(claims.advice(block), pytrace=False)


def test_titles_are_unique_in_a_document() -> None:
    titled = [(block.document, block.title) for block in BLOCKS if block.language == "python" and block.title]
    assert sorted(set(titled)) == sorted(titled)


def test_the_registry_holds_nothing_that_is_gone() -> None:
    programs = {(block.document, block.title) for block in BLOCKS if block.language == "python"}
    first_lines = {(block.document, claims.first_line(block)) for block in BLOCKS}
    lines = {line for block in BLOCKS if block.language == "sh" for line in claims.commands_of(block)}
    assert set(claims.PROGRAMS) - programs == set()
    assert set(claims.HELD_BY) - first_lines == set()
    assert set(claims.COMMANDS) - lines == set()


def test_servers_of_programs_exist_and_serve() -> None:
    for (document, title), program in claims.PROGRAMS.items():
        if program.server:
            assert program.server in {block.title for block in blocks_of(document)}, (document, title)
            assert claims.PROGRAMS[document, program.server].serves, (document, title)


def test_the_tests_exist() -> None:
    named = {way for way in claims.COMMANDS.values() if way not in WAYS}
    for tests in claims.HELD_BY.values():
        named.update(tests)
    for test in named:
        file, _, function = test.partition("::")
        assert function in functions(file), f"{test}: write it as 'cli/test_demo.py::test_name', from tests/ on"


def block_with(language: str, text: str, title: str = "") -> Block:
    return Block("README.md", 7, language, title, text)


def test_an_unclaimed_block_is_found_and_the_advice_can_be_pasted() -> None:
    command = block_with("sh", "moorings frobnicate --now  # why\n")
    assert claims.claim(command) is None
    assert "'moorings frobnicate --now': ENDS_WELL," in claims.advice(command)
    output = block_with("text", "\nsome output\n")
    assert claims.claim(output) is None
    assert "('README.md', 'some output'): [" in claims.advice(output)
    assert claims.claim(block_with("", "x")) is None
    assert claims.claim(block_with("json", "{}")) is None
    assert claims.claim(block_with("sh", "make test\nmoorings listen --help\n")) is not None
