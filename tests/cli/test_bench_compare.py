"""`inferd bench compare`: its flags, its exit codes, and what it says of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from inferd.bench import report
from inferd.cli.bench_compare import compare
from inferd.errors import ConfigError
from tests.reports import measurement, sample


def saved(folder, name: str, **fields) -> str:
    report.save(sample(measurements=[measurement(**fields)]), folder / name)
    return str(folder / name)


def test_the_command(tmp_path: Path) -> None:
    paths = saved(tmp_path, "a.json"), saved(tmp_path, "b.json", seed=2, slower=1.7)
    result = CliRunner().invoke(compare, paths, standalone_mode=False)
    assert (result.return_value, result.exception) == (1, None)
    assert "before  mlp at localhost:8001" in result.output
    result = CliRunner().invoke(compare, [*paths, "--margin", "90%"], standalone_mode=False)
    assert (result.return_value, "INCONCLUSIVE" in result.output) == (4, True)
    strict = [*paths, "--margin", "90%", "--fail-on-unclear"]
    assert CliRunner().invoke(compare, strict, standalone_mode=False).return_value == 1
    result = CliRunner().invoke(compare, [*paths, "--markdown", "--threshold", "80%", "--confidence", "0.9"], standalone_mode=False)
    assert result.return_value == 4
    assert "90 % interval" in result.output
    CliRunner().invoke(compare, [*paths, "--html", str(tmp_path / "c.html")], standalone_mode=False)
    page = (tmp_path / "c.html").read_text()
    assert "✕ WORSE" in page
    assert 'name="changes-at"' in page


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--threshold", "5"], "expected from 0% to below 100%, got '5'"),
        (["--threshold", "much"], "expected a share such as 5% or 0.05, got 'much'"),
        (["--threshold", "nan"], "expected from 0%"),
        (["--confidence", "5%"], "expected from 50% to below 100%"),
    ],
)
def test_a_wrong_share_is_a_usage_error(tmp_path: Path, arguments, says) -> None:
    path = saved(tmp_path, "a.json")
    result = CliRunner().invoke(compare, [path, path, *arguments])
    assert result.exit_code == 2
    assert says in result.output


def test_a_missing_report_is_an_error_of_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(compare, [saved(tmp_path, "a.json"), "none.json"])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "none.json: cannot be read: No such file or directory"
