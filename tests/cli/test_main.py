"""What holds for every verb: closed and full descriptors."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from inferd import cli
from inferd.errors import ConfigError, InferdError, StartError
from tests.command import EXAMPLES, TIMEOUT_S, command, environment

IDENTITY = str(EXAMPLES / "models" / "identity")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments",
    [["doctor"], ["config"], ["infer", IDENTITY, "--random", "--format", "json"], ["--help"], ["--version"]],
    ids=lambda a: a[0],
)
def test_a_full_disk_is_one_line_and_exit_code_1(tmp_path: Path, arguments: list[str], unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env=environment(PYTHONUNBUFFERED=unbuffered),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "inferd: stdout cannot be written: No space left on device\n")


def test_an_error_of_the_system_elsewhere_is_no_matter_of_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.program, "main", lambda *arguments, **options: os.stat("/nowhere/at/all"))
    with pytest.raises(FileNotFoundError):
        cli.run([])


EVIL = "no\x1b[2J\x1b[31mHACK\x9b5m\x07\r\u202e"


@pytest.mark.parametrize("error", [InferdError(EVIL), ConfigError(EVIL), click.UsageError(EVIL)], ids=lambda error: type(error).__name__)
def test_no_error_writes_to_the_terminal(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def reject(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(cli.program, "main", reject)
    assert cli.run([]) in (1, 2)
    said = capsys.readouterr().err
    assert "HACK" in said
    assert all(character.isprintable() or character == "\n" for character in said)


def test_an_error_is_one_line_whatever_a_server_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def reject(*arguments: object, **options: object) -> None:
        raise InferdError("localhost:8001: UNAVAILABLE: it said\n  this\r\nand that")

    monkeypatch.setattr(cli.program, "main", reject)
    assert cli.run([]) == 1
    assert capsys.readouterr().err == "inferd: localhost:8001: UNAVAILABLE: it said this and that\n"


def test_what_keeps_a_server_from_starting_may_be_a_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def reject(*arguments: object, **options: object) -> None:
        raise StartError("2 of 3 models cannot be served:\n- this\n- that")

    monkeypatch.setattr(cli.program, "main", reject)
    cli.run([])
    assert capsys.readouterr().err == "inferd: 2 of 3 models cannot be served:\n- this\n- that\n"


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_standard_descriptors_lead_nowhere(tmp_path: Path, closed: list[int]) -> None:
    program = (
        "import os, sys; from inferd.cli import open_standard_descriptors as opened\n"
        f"for descriptor in {closed}: os.close(descriptor)\n"
        "opened()\n"
        f"names = [os.readlink(f'/proc/self/fd/{{number}}') for number in {closed}]\n"
        "first_free = os.open('/dev/zero', os.O_RDONLY)\n"
        "open('seen', 'w').write(f'{set(names)} {first_free}')\n"
    )
    arguments = [*command()[:1], "-c", program]
    subprocess.run(arguments, cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=True)
    assert (tmp_path / "seen").read_text() == "{'/dev/null'} 3"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_exit_code_130_without_a_word(ctrl_c: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupt)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 130
    assert capfd.readouterr() == ("", "")


def test_when_all_is_done_ctrl_c_does_nothing(ctrl_c: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "run", lambda args: 1)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    signal.raise_signal(signal.SIGINT)
    assert ended.value.code == 1


@pytest.mark.parametrize("module", ["click", "locale"])
def test_ctrl_c_while_it_imports_is_exit_code_130_without_a_word(tmp_path: Path, module: str) -> None:
    """Also where click imports something when a command is made."""
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    words, own = command("--help"), environment()
    own["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{own['PYTHONPATH']}"
    done = subprocess.run(words, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_nothing_long_is_imported_before_ctrl_c_is_heeded(tmp_path: Path) -> None:
    """The package itself comes first, and it cannot end the program."""
    code = "import sys, inferd; sys.exit('typing' in sys.modules or 're' in sys.modules)"
    words = [*command()[:1], "-S", "-c", code]
    assert subprocess.run(words, cwd=tmp_path, env=environment(), timeout=TIMEOUT_S, check=False).returncode == 0
