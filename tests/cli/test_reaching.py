"""Commands that ask a server by TLS and with a token: who is let in, and what the others are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from inferd.client_inputs.reach import Reach
from inferd.errors import ConfigError
from tests import models
from tests.certificates import CLIENT_NAME, Files
from tests.server_fixtures import ServerFixture

TOKEN = "a-token-of-the-tests-own"
ONE_ROW = ("identity", "--input", f"x={[[1.0] * 16]}", "--format", "json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the files that a client has."""
    made = tmp_path_factory.mktemp("reaching")
    (made / "token").write_text(f"# ours\n\n{TOKEN}\n")
    return made


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ServerFixture]:
    """By TLS with client certificates, and without on a Unix socket."""
    ours = Files.made(folder)
    client = ours.authority.issue_cert(CLIENT_NAME)
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    files = models.repository(folder / "models", {"identity": models.identity()})
    ca, socket, tokens = str(ours.ca), f"unix:{folder / 'socket'}", str(folder / "token")
    with ServerFixture(files, **ours.settings(tls_client_ca=ca, token_file=tokens, listen=(socket,))) as server:
        yield server


@pytest.fixture(scope="module")
def mine(folder: Path) -> tuple[str, ...]:
    return ("--tls-ca", str(folder / "ca.pem"), "--tls-cert", str(folder / "client.pem"), "--tls-key", str(folder / "client.key"))


def test_let_in(served: ServerFixture, folder: Path, mine: tuple[str, ...], call) -> None:
    token = ("--token-file", str(folder / "token"))
    for named in ((), ("--tls-server-name", "localhost")):
        done = call("infer", served.address, *ONE_ROW, *mine, *token, *named)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outputs"][0]["data"] == [[1.0] * 16]
        done = call("health", served.address, "identity", "--timeout", "30s", *mine, *named)
        assert (done.returncode, done.stdout) == (0, "SERVING\n")


def test_bench_sends_the_token_and_does_not_tell_it(served: ServerFixture, folder: Path, call) -> None:
    target, flags = f"unix:{folder / 'socket'}", ("--requests", "200", "--warm-up", "0s", "--quiet")
    done = call("bench", target, "identity", *flags, "--token-file", str(folder / "token"), "--json", "report.json")
    assert done.returncode == 0, done.stderr
    report = Path("report.json").read_text()
    assert json.loads(report)["errors"] == {}
    assert TOKEN not in report + done.stdout + done.stderr
    done = call("bench", target, "identity", *flags)
    assert done.returncode == 1
    assert "UNAUTHENTICATED" in done.stderr


def test_left_out(served: ServerFixture, folder: Path, mine: tuple[str, ...], call) -> None:
    done = call("infer", served.address, *ONE_ROW, *mine)
    assert (done.returncode, "UNAUTHENTICATED" in done.stderr) == (1, True)
    for flags, says in (
        ((), "it speaks TLS: give --tls-ca FILE"),
        (("--tls-ca", str(folder / "stranger.pem")), "its certificate is not trusted"),
    ):
        done = call("health", served.address, "--timeout", "30s", *flags)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"inferd: {served.address}: {says}" in done.stderr


def test_grpc_writes_nothing_of_its_own(served: ServerFixture, folder: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)  # this process's
    done = run("infer", served.address, *ONE_ROW, "--tls-ca", folder / "stranger.pem", "--timeout", "5s")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith("inferd: ")] == []


@pytest.mark.parametrize("command", ["infer", "health"])
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--tls-ca", "nosuch.pem"), "nosuch.pem: it cannot be read: No such file or directory"),
        (("--tls-ca", "token"), "tls: ca: expected a certificate in PEM"),
        (("--tls-cert", "client.pem"), "tls: certificate needs key, too"),
    ],
)
def test_files_that_are_none(
    served: ServerFixture, folder: Path, call, monkeypatch: pytest.MonkeyPatch, command: str, flags: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(folder)
    done = call(command, served.address, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_a_token_does_not_leave_the_machine_in_plain_text(folder: Path, call) -> None:
    done = call("infer", "192.0.2.1:8001", *ONE_ROW, "--token-file", str(folder / "token"))
    assert done.returncode == 2
    assert "give --tls or --tls-ca" in done.stderr
    assert TOKEN not in done.stderr


def test_flags_that_are_for_a_server(folder: Path, call) -> None:
    done = call("infer", str(folder / "models"), *ONE_ROW, "--tls")
    assert done.returncode == 2
    assert "TLS and tokens are for a server" in done.stderr


@pytest.mark.parametrize("verb", ["infer", "health", "bench"])
@pytest.mark.parametrize("key", ["c2VjcmV0" * 8, "c2VjcmV0" * 40])
def test_a_key_in_place_of_its_file_is_repeated_nowhere(call, verb: str, key: str) -> None:
    rest = () if verb == "health" else ("identity",)
    done = call(verb, "localhost:1", *rest, "--tls-cert", "absent.pem", "--tls-key", key)
    assert done.returncode == 2
    assert "--tls-key: expected the path of a file that can be read" in done.stderr
    assert "c2Vj" not in done.stderr + done.stdout


def test_no_token_in_the_file(tmp_path: Path) -> None:
    missing = r"^--token-file: expected the path of a file that can be read: No such .*; the path is not repeated here"
    for content, says in ((None, missing), ("# nothing\n\n", "expected a token in a line, got none")):
        path = tmp_path / "token"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=says):
            Reach(token_file=str(path)).token()


def test_a_token_in_place_of_its_file_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="it may be the secret") as rejected:
        Reach(token_file="c2VjcmV0" * 40).token()  # too long for a name
    assert "c2Vj" not in str(rejected.value)


@pytest.mark.parametrize("name", ["ca", "certificate", "key", "server_name"])
def test_an_empty_flag_does_not_mean_plaintext(name: str) -> None:
    assert Reach(**{name: ""}).by_tls
    assert not Reach().by_tls
