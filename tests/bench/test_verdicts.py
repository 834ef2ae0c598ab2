"""A comparison as words."""

from __future__ import annotations

import re

from inferd.bench.compare import Change, Comparison, compare
from inferd.bench.verdicts import markdown, plain
from tests.reports import measurement, sample


def test_no_interval_is_wider_than_a_screen() -> None:
    change = Change("4x1", "mean", "us", 1.0, 2.0, 1.0, -1.0, 1e130, "unclear")
    assert "  -100.0 % to > +100,000 %  unclear" in plain(Comparison("a", "b", 0.05, 0.95, changes=[change]))


def test_the_text_and_the_table() -> None:
    made = compare(sample(measurements=[measurement()]), sample(measurements=[measurement(seed=2, slower=1.7)]), confidence=0.99)
    text, table = plain(made, lambda verdict, line: f"<{verdict}>{line}"), markdown(made)
    assert re.search(r"<worse>  p50 +[\d,]+\.\d µs +[\d,]+\.\d µs +\+\d+\.\d % +\+\d+\.\d % to \+\d+\.\d %  worse$", text, re.MULTILINE)
    assert text.splitlines()[0] == text.splitlines()[-1]
    assert re.match(r"<worse>✗ WORSE: after is worse than before: p50 \+\d", text)
    assert re.match(
        r"\*\*WORSE\*\*: after is worse than before: .* \(confidence low: single runs; --rounds 4 tells smaller changes\)", table
    )
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert rows[0] == "| load | figure | before | after | change | 99 % interval | verdict |"
    assert {row.count("|") for row in rows} == {8}
    assert any("| **worse** |" in row for row in rows)


def test_names_do_not_break_the_table() -> None:
    told = plain(Comparison("\x1b[31ma", "c\x1b]0;title\x07", 0.05, 0.95, notices=["\x1b[2J"]))
    assert "\x1b" not in told
    assert r"a\|b" in markdown(Comparison("a|b\n", "c", 0.05, 0.95))
