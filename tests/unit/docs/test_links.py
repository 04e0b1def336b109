"""Tests that every relative link in the documentation leads to an existing file and heading."""

import re
from pathlib import Path

import pytest

from tests.platform import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
PAGES += [ROOT / "clients/python/README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "examples").rglob("*.md"))

#: Matches `[text](target)` and `![text](target)`. Code blocks and code spans are removed
#: beforehand.
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(text: str) -> str:
    """The page's text without fenced code blocks, and with code spans reduced to plain text."""
    without_blocks = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda span: re.sub(r"[\[\]()]", "", span[0]), without_blocks)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as Markdown renderers generate them."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text()), re.MULTILINE)
    texts = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-") for text in texts}


def broken(page: Path) -> list[str]:
    """Links on a page that lead to no existing file or heading."""
    return [
        target
        for target in LINK.findall(prose(page.read_text()))
        if not re.match(r"[a-z]+:", target) and not _leads_somewhere(page, target)
    ]


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not anchor or (file.suffix == ".md" and anchor in anchors(file)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# Two words, `code`\n\n```sh\n# no heading\n```\n")
    page.write_text(
        "[a](other.md) [b](other.md#two-words-code) [c](#here) [d](https://host/x) `[e](code.md)`\n\n"
        "[f](gone.md) [g](other.md#no-heading) [h](#there) ![i](gone.svg)\n\n# Here\n"
    )
    assert broken(page) == ["gone.md", "other.md#no-heading", "#there", "gone.svg"]


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text())
    }
    assert [page.name for page in (ROOT / "docs").glob("*.md") if page not in linked | {index}] == []
