"""Tests that the short page about performance agrees with the dated measurements."""

import re

from tests.platform import ROOT
from tools import performance_chart

#: Text of the page, without the table of figures that `make bench` may have added.
PAGE = (ROOT / "docs/performance.md").read_text().partition("<!-- figures")[0]
MEASURED = performance_chart.PAGE.read_text()


def rows(page: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"
    ]


def test_the_chart_shows_what_was_measured() -> None:
    drawn = performance_chart.draw(performance_chart.read(MEASURED))
    assert performance_chart.CHART.read_text() == drawn, "run `python -m tools.performance_chart`"
    assert len(performance_chart.read(MEASURED)) == MEASURED.count("\n| throughput ÷ ") > 5


def test_each_line_of_the_page_is_a_line_of_the_measurement() -> None:
    """The page's rows summarize dated measurements.

    All figures and verdicts of a row must occur in one row of a measurement.
    """
    pages = (ROOT / "docs/measurements").glob("*.md")
    measured = [" | ".join(row) for page in pages for row in rows(page.read_text())]
    listed = rows(PAGE)[2:]
    assert len(listed) > 10
    for what, *facts in listed:
        numbers = {fact for cell in facts for fact in re.findall(r"[\d.,]*\d|yes|no", cell)}
        assert any(numbers <= set(re.findall(r"[\d.,]*\d|yes|no", row)) for row in measured), what
