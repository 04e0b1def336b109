from collections import namedtuple

from bench import report
from bench.figure import Figure, Measured, Round
from bench.figures.memory import pss_alone

PAGE = f"# Before\n\n{report.BEGIN}\n\n{report.END}\n\nAfter.\n"


def measured(name: str, *rounds: Round, required: float | None = 1.0, lower: bool = False) -> Measured:
    figure = Figure(name, "this ÷ that", required, lower_is_better=lower)
    return Measured(figure, "tasks/s", list(rounds))


def test_the_median_of_the_ratios_counts_and_not_the_ratio_of_the_medians() -> None:
    rounds = [Round(10, 1), Round(20, 10), Round(30, 10)]
    assert measured("a", *rounds).ratio == 3


def test_a_figure_is_met_on_its_own_side() -> None:
    assert measured("more is better", Round(2, 1)).met is True
    assert measured("more is better", Round(1, 2)).met is False
    assert measured("less is better", Round(2, 1), lower=True).met is False
    assert measured("less is better", Round(1, 2), lower=True).met is True
    assert measured("only reported", Round(1, 2), required=None).met is None


def test_a_line_says_both_sides_and_whether_it_is_met() -> None:
    cells = report.line(measured("a", Round(1_500, 1_000), Round(1_800, 1_000))).split(" | ")
    assert cells[1:4] == ["1.65", "1.5 to 1.8", "≥ 1"]
    assert cells[5:8] == ["yes", "1,650 tasks/s", "1,000 tasks/s"]


def test_lines_of_figures_that_were_not_measured_stay_in_the_page() -> None:
    first = report.merged(PAGE, [report.line(measured(name, Round(1, 1))) for name in ("a", "b")])
    second = report.merged(first, [report.line(measured(name, Round(7, 1))) for name in ("b", "c")])
    rows = {row.split(" | ")[0]: row.split(" | ")[1] for row in second.splitlines() if row.startswith("| ")}
    assert rows == {"| figure": "median", "| a": "1", "| b": "7", "| c": "7"}
    assert second.startswith("# Before\n")
    assert second.endswith("\n\nAfter.\n")


def test_writing_the_same_lines_again_changes_nothing() -> None:
    once = report.merged(PAGE, [report.line(measured("a", Round(1, 1)))])
    assert report.merged(once, []) == once


def test_a_library_that_others_have_open_too_is_counted_in_full_and_once() -> None:
    mapping = namedtuple("mapping", "path pss private_clean private_dirty shared_clean shared_dirty")
    library = mapping("/lib/x.so", 1, 2, 3, 100, 0)
    heap = mapping("[heap]", 40, 40, 0, 20, 0)
    assert pss_alone([[library, heap], [library, heap]]) == 100 + 2 * (2 + 3) + 2 * 40
