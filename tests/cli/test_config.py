"""`inferd config`, `--help` and the exit codes of usage."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import inferd
from inferd.cli.options import REREAD, takes_settings
from inferd.cli.verbs import VERBS
from inferd.config import Settings, fields
from inferd.errors import ConfigError


def test_text_shows_value_and_origin(run, tmp_path: Path) -> None:
    (tmp_path / "inferd.toml").write_text('log_level = "debug"\n')
    (tmp_path / "a.onnx").touch()
    done = run("config", "a.onnx", "--grpc-port", "0", "--no-uvloop", INFERD_MAX_MESSAGE_BYTES="2097152")
    assert (done.returncode, done.stderr) == (0, "")
    table, _, _ = done.stdout.partition("\n\n")
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert list(rows) == list(fields())
    assert rows["models"] == ["a.onnx", "PATH"]
    assert rows["grpc_port"] == ["0", "--grpc-port"]
    assert rows["uvloop"] == ["false", "--no-uvloop"]
    assert rows["max_message_bytes"] == ["2MiB", "INFERD_MAX_MESSAGE_BYTES"]
    assert rows["log_level"] == ["debug", "inferd.toml"]
    assert rows["host"] == ["127.0.0.1", "default"]
    assert rows["metrics_host"] == ["the", "same", "as", "host", "default"]
    assert rows["tls_cert"] == ["-", "default"]


def test_the_worst_case_is_told(run) -> None:
    """What each `auto` stands for, the sum, and a warning where it is more than there is."""
    done = run("config", "--message-memory-bytes", "64MiB", "--record", "a/folder/to/be/made")
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.partition("\n\n")[2]
    assert re.search(r"^  record +52 MiB  1 x 52 MiB: ", told, re.MULTILINE)
    assert re.search(r"^  connections +[0-9.]+ [GM]iB  [0-9]+ x 384 KiB$", told, re.MULTILINE)
    assert re.search(r"^  messages +64 MiB  message_memory_bytes$", told, re.MULTILINE)
    auto = r"max_connections=[0-9]+, max_total_streams=[0-9]+, max_run_bytes=\w+, picture_memory_bytes=\w+"
    assert re.search(rf"^  auto stands for: {auto}$", told, re.MULTILINE)
    assert re.search(r"^  left for models ", told, re.MULTILINE)
    assert "warning" not in told
    done = run("config", "--max-connections", "1000000", "--message-memory-bytes", "1024TiB")
    told = done.stdout.partition("\n\n")[2]
    assert done.returncode == 0
    assert "warning: this is more than the " in told
    assert "  left for models " not in told
    said = run("serve", "none.onnx", "--max-connections", "1000000").stderr
    assert re.search(r"WARNING .*memory: clients can make this server hold [0-9.]+ GiB, and it may use [0-9.]+ [GM]iB", said)
    assert "memory:" not in run("serve", "none.onnx").stderr


def test_json_is_whole(run) -> None:
    done = run("config", "--json", "--listen", "unix:/a", "--listen", "[::1]:0,localhost:1", "--metrics-port", "off")
    rows = json.loads(done.stdout)
    assert rows["listen"] == {"value": ["unix:/a", "[::1]:0", "localhost:1"], "origin": "--listen"}
    assert rows["metrics_port"] == {"value": -1, "origin": "--metrics-port"}
    assert set(rows) == set(fields())


def test_help_has_layers(call) -> None:
    """A screen of flags that most people use; every flag on demand; `config` and its like say where the flags are."""
    short, whole = call("serve", "--help").stdout, call("serve", "--help-all").stdout
    assert short.count("\n") <= 42
    assert re.findall(r"^([A-Z].*):$", short, re.MULTILINE) == [
        *("Models", "Addresses", "TLS and tokens", "Processes and transport", "Shutdown and log", "Options")
    ]
    for field in fields().values():
        if field.name != "models":
            shown = f"--[no-]{field.flag[2:]} " if field.kind == "bool" else f"{field.flag} "
            assert (shown in short) == field.common, field.flag
            assert shown in whole, field.flag
    for verb in ("config", "doctor", "check"):
        own = call(verb, "--help").stdout
        assert "Every flag of `inferd serve` works here, too." in own
        assert "--grpc-port" not in own
        assert "--grpc-port" in call(verb, "--help-all").stdout


def test_all_flags_fit_a_terminal_and_have_their_text_beside_them(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = call("serve", "--help-all").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    flags = [line for line in lines if line.startswith("  --")]
    alone = [line for line in flags if "  " not in line.strip()]
    assert len(flags) > 85
    assert all(len(line) > 32 for line in alone), "only a flag that is too long has a line of its own"
    assert len(alone) < 12
    beside = [re.match(r"  --\S+( \S+)? {2,}", line) for line in flags if line not in alone]
    assert {found and found.end() for found in beside} == {34}, "one column"
    assert not any(line.endswith("[default:") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["config", "--tls-allow", ""], "inferd: tls_allow (--tls-allow): expected a list of: names, got ''; leave it out for none\n"),
        (["config", "--token-file", ""], "inferd: token_file (--token-file): expected the path of a file, got ''; leave it out for none\n"),
        (["config", "--config", ""], "inferd: config (--config): expected the path of a TOML file, got ''; leave it out for inferd.toml"),
        (["config", "--grpc-port", "x"], "inferd: grpc_port (--grpc-port): expected a whole number from 0 to 65535, got 'x'\n"),
        (["config", "--config", "no.toml"], "inferd: config (--config): expected a TOML file, got 'no.toml', which does not exist\n"),
        (["config", "--grcp-port", "1"], "No such option"),
        (["serv"], "there is no command 'serv'; did you mean `inferd serve`?"),
        (["xyz"], "there is no command 'xyz'; `inferd --help` lists them"),
        (["serve"], "inferd: models: expected a PATH to an ONNX file or a model repository, got none; try `inferd serve model.onnx`\n"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_no_traceback(call, arguments: list[str], message: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_lists_the_verbs(call) -> None:
    text = call("--help").stdout
    assert all(verb in text for verb in VERBS)
    assert call().returncode in (0, 2)


def test_version(call) -> None:
    assert call("--version").stdout == f"inferd, version {inferd.__version__}\n"


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-m", "inferd", "config"], stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_file_that_is_gone_is_not_read_as_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When settings are read again: without their file all would be defaults."""

    @click.command
    @takes_settings
    def verb(settings: Settings, origins: dict[str, str]) -> None:
        reread = click.get_current_context().meta[REREAD]
        assert reread() == settings
        if (file := Path("inferd.toml")).exists():
            file.write_text("lame_duck_s = 2")
            assert reread().lame_duck_s == 2
            file.unlink()
            with pytest.raises(ConfigError, match=r"expected a TOML file, got 'inferd.toml', which does not exist"):
                reread()

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INFERD_CONFIG", raising=False)
    verb.main([], standalone_mode=False)
    Path("inferd.toml").write_text("lame_duck_s = 1")
    verb.main([], standalone_mode=False)
