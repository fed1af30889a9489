"""The site of the documentation builds without a warning (``make docs``), and everything public is on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import moorings

ROOT = Path(__file__).parents[2]
LINK = re.compile(r'<(?:a|link|img|script)\b[^>]*?\b(?:href|src)="([^"]+)"')

pytestmark = [pytest.mark.static, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0 or result.stdout:
        pytest.fail(result.stdout, pytrace=False)
    return directory


def identifiers(page: Path) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))


def test_every_public_name_is_on_the_site(site: Path) -> None:
    found = {name for page in site.glob("reference/*.html") for name in identifiers(page)}
    assert [name for name in moorings.__all__ if f"moorings.{name}" not in found] == []


def test_links_of_the_built_pages(site: Path) -> None:
    """Links and anchors as the browser sees them; nothing is loaded from another place."""
    pages = {page: identifiers(page) for page in site.rglob("*.html")}
    assert len(pages) > 15
    broken: list[str] = []
    for page in pages:
        if page.name == "404.html":
            continue  # its links are absolute: nobody knows where it is shown
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            parts = urlsplit(unescape(link))
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.exists() or (parts.fragment and target in pages and parts.fragment not in pages[target]):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loaded = {
        link
        for page in site.rglob("*.html")
        for link in re.findall(r'<(?:script|img|link)\b[^>]*?\b(?:src|href)="(https?://[^"]+)"', page.read_text())
    }
    assert loaded == set()
