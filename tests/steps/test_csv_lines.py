"""Which lines are records is what pandas says; what is written is read again as it was."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.steps.csv_lines import read_csv, write_csv

LINES = st.lists(st.sampled_from(["", " ", " \t", "1", " 2 ", '""', '"  "', '"\n"', '"a\n\n b"', "x"]), max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


def fields_of(text: str) -> list[list[str]]:
    return [fields for _, fields in read_csv(io.StringIO(text, newline=""))]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@given(lines=LINES)
def test_records_are_those_of_pandas(end: str, lines: list[str]) -> None:
    pandas = pytest.importorskip("pandas")
    text = end.join(["", "  ", "a", *lines, ""])
    frame = pandas.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False)
    assert fields_of(text) == [["a"], *frame.to_numpy().tolist()]


@given(lines=LINES)
def test_and_those_of_several_columns(lines: list[str]) -> None:
    pandas = pytest.importorskip("pandas")
    text = "\n".join(["a,b", *(f"{line},{line}" if line.strip() else line for line in lines), ","])
    frame = pandas.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert fields_of(text) == [["a", "b"], *frame.to_numpy().tolist()]


def test_a_record_has_the_number_of_the_line_that_it_ends_in() -> None:
    assert list(read_csv(['"a\n', 'b",1\n', "  \n", "\n", "c,2"])) == [(2, ["a\nb", "1"]), (5, ["c", "2"])]
    with pytest.raises(csv.Error):
        list(read_csv(["\n", '"a']))


@given(st.lists(TEXTS | st.sampled_from(["", " ", "\t", "\r\n"]), min_size=1, max_size=3))
def test_what_is_written_is_read_again(fields: list[str]) -> None:
    assert fields_of(write_csv(fields)) == [fields]


def test_nothing_is_an_empty_field() -> None:
    assert write_csv([None]) == '""'
    assert write_csv([None, 1.5]) == ",1.5"
    assert write_csv(["  "]) == '"  "'
