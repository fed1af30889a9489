"""Hooks of MkDocs: bring the documents and examples that stand outside docs/ into the site, and mend links to them.

On the site ARCHITECTURE.md and its like are pages under project/, and each example is a page that shows its source.
Links are written as they work in the repository; here they get the address that the target has on the site.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PROJECT = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\[]+)\]\((?P<target>[^)\s]+)\)")


def site_addresses() -> dict[str, str]:
    """Path in the repository of everything that has a page, and where that page stands."""
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    addresses = {page: page.removeprefix("docs/") for page in pages}
    addresses |= {name: f"project/{name}" for name in PROJECT}
    addresses["README.md"] = "index.md"
    addresses["examples/README.md"] = "examples/index.md"
    addresses |= {f"examples/{path.name}": f"examples/{path.stem}.md" for path in (ROOT / "examples").glob("*.py")}
    return addresses


def example_page(path: Path) -> str:
    """The page of an example: its docstring's first line, its source."""
    text = path.read_text(encoding="utf-8")
    title = (ast.get_docstring(ast.parse(text)) or path.name).splitlines()[0]
    return f'# {path.name}\n\n{title}\n\n```python title="{path.name}"\n{text}```\n'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/."""
    for source, address in site_addresses().items():
        if source.startswith("docs/") or source == "README.md":
            continue
        path = ROOT / source
        content = example_page(path) if path.suffix == ".py" else path.read_text(encoding="utf-8")
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Point the links at the site. What is only in the repository loses its link and keeps its text."""
    addresses = site_addresses()
    address = page.file.src_uri
    source = next((path for path, place in addresses.items() if place == address and path != "README.md"), None)
    if source is None or source.endswith(".py"):
        return markdown

    def mend(match: re.Match[str]) -> str:
        target, mark, anchor = match["target"].partition("#")
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path not in addresses:
            if (ROOT / path).exists():
                return match["text"]
            return match[0]  # MkDocs says that it leads nowhere
        relative = posixpath.relpath(addresses[path], posixpath.dirname(address) or ".")
        return f"[{match['text']}]({relative}{mark}{anchor})"

    return LINK.sub(mend, markdown)
