"""Numbers on a command line: what is none, or beyond the limits, is said in words that a user knows."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from inferd.cli.number import Fraction, Whole


@click.command()
@click.option("--count", type=Whole(1, 9))
@click.option("--share", type=Fraction(0, 1))
@click.option("--seed", type=Whole(0, 2**63 - 1), default=0)
@click.option("--rate", type=Fraction(0, min_open=True))
def verb(count: int | None, share: float | None, seed: int, rate: float | None) -> None:
    click.echo(f"{count} {share}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--count", "x"], "Invalid value for '--count': 'x' is not a valid whole number."),
        (["--count", "1.5"], "Invalid value for '--count': '1.5' is not a valid whole number."),
        (["--count", "10"], "Invalid value for '--count': 10 is not in the range 1 to 9."),
        (["--share", "x"], "Invalid value for '--share': 'x' is not a valid number."),
        (["--share", "nan"], "Invalid value for '--share': 'nan' is not a valid number."),
        (["--share", "2"], "Invalid value for '--share': 2.0 is not in the range 0 to 1."),
    ],
)
def test_what_is_no_number_or_beyond_its_limits(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(verb, arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_numbers_within_their_limits_and_how_help_shows_them() -> None:
    assert CliRunner().invoke(verb, ["--count", "9", "--share", "0.5"]).output == "9 0.5\n"
    shown = CliRunner().invoke(verb, ["--help"]).output
    assert "--count N" in shown
    assert "[1 to 9]" in shown
    assert "--share X" in shown
    assert "[0 or more]" in shown
    assert "[above 0]" in shown
