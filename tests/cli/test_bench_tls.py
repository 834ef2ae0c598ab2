"""`inferd bench` by TLS as a user runs it, against inferd and a server of grpcio; and what it says where there is no connection."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests import models
from tests.certificates import CLIENT_NAME, Files
from tests.cli.test_bench import SHORT, measuring
from tests.command import EXAMPLES, FREE_PORTS, TIMEOUT_S, Serving
from tests.echo_server import EchoServer

TOKEN = "a-token-of-the-tests-own"
ASKED = ("--requests", "120", "--warm-up", "0s", "--quiet")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Those of the server; beside them client.pem and client.key, a stranger's folder, and a token."""
    made = Files.made(tmp_path_factory.mktemp("files"))
    folder = made.ca.parent
    client = made.authority.issue_cert(CLIENT_NAME)
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    Files.made(folder / "stranger")
    (folder / "token").write_text(TOKEN)
    return made


def by_tls(files: Files) -> tuple[str, ...]:
    return ("--tls-cert", str(files.cert), "--tls-key", str(files.key))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    contents: dict[str, Any] = {"double": {1: models.doubled(), 2: models.doubled()}}
    return models.repository(tmp_path_factory.mktemp("repository"), contents, {"double": "version_policy { all {} }"})


@pytest.fixture(scope="module")
def server(files: Files, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """By mTLS and with a token; "plain": an address without TLS."""
    access = ("--tls-client-ca", str(files.ca), "--token-file", str(files.ca.parent / "token"), "--listen", "plaintext:127.0.0.1:0")
    with Serving(tmp_path_factory.mktemp("serving"), repository, *FREE_PORTS, *by_tls(files), *access) as running:
        running.addresses["plain"] = running.addresses["listen"][0]
        yield running


@pytest.fixture
def mine(files: Files) -> tuple[str, ...]:
    folder = files.ca.parent
    certificate = ("--tls-cert", str(folder / "client.pem"), "--tls-key", str(folder / "client.key"))
    return ("--tls-ca", str(files.ca), *certificate, "--token-file", str(folder / "token"))


@pytest.fixture
def bench(call: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[Any, dict[str, Any]]]:
    def measure(*arguments: str) -> tuple[Any, dict[str, Any]]:
        out = tmp_path / "report.json"
        done = call("bench", *arguments, "--json", out)
        return done, json.loads(out.read_text()) if out.exists() else {}

    return measure


@pytest.mark.parametrize(
    "load",
    [
        ASKED,
        ("--connections", "3", "--processes", "2", "--concurrency", "4", *SHORT),
        ("--rate", "1000", *SHORT),
        ("--versions", "1,2", "--rounds", "1", *SHORT),
        ("--scenario", "MultiStream", *SHORT),
    ],
    ids=["requests", "processes", "rate", "versions", "scenario"],
)
def test_each_kind_of_load(bench, server: Serving, repository: Path, mine: tuple[str, ...], load: tuple[str, ...]) -> None:
    reference = ("--verify", str(repository / "double" / "1" / "model.onnx"), "--verify-every", "10")
    done, report = bench(server.addresses["grpc"], "double", *load, *mine, *reference)
    assert done.stderr == ""
    assert done.returncode == 0 or "--scenario" in load or "--versions" in load, "which so short a run may call invalid, or unclear"
    assert all(measured["requests"] > 30 for measured in report["measurements"])
    assert all(measured["errors"] == {} for measured in report["measurements"])
    assert all(measured["verified"]["checked"] > 0 == measured["verified"]["wrong"] for measured in report["measurements"])
    assert report["versions"]["tls"].split(" ")[0] in ("TLSv1.2", "TLSv1.3")
    assert "_" in report["versions"]["tls"].split(" ")[1], "the cipher"
    assert report["versions"]["openssl"].startswith("OpenSSL")
    assert report["settings"]["tls_ca"] == mine[1]
    assert report["measurements"][0]["server"]["requests"] > 30, "its statistics are asked by TLS, too"
    assert TOKEN not in json.dumps(report)


def test_in_plaintext_nothing_is_said_of_tls(bench, server: Serving, files: Files) -> None:
    done, report = bench(server.addresses["plain"], "double", *ASKED, "--token-file", str(files.ca.parent / "token"))
    assert (done.returncode, "tls" in report["versions"], "openssl" in report["versions"]) == (0, False, False), done.stderr


def test_a_server_of_grpcio(bench, files: Files, tmp_path: Path) -> None:
    credentials = grpc.ssl_server_credentials([(files.key.read_bytes(), files.cert.read_bytes())], files.ca.read_bytes(), True)
    echo = EchoServer(tmp_path, credentials)
    try:
        folder = files.ca.parent
        certificate = ("--tls-cert", str(folder / "client.pem"), "--tls-key", str(folder / "client.key"))
        done, report = bench(echo.target, "echo", *ASKED, "--concurrency", "4", "--tls-ca", str(files.ca), *certificate)
        assert done.returncode == 0, done.stderr
        assert (report["requests"], report["errors"]) == (120, {})
        assert echo.peer["x509_common_name"] or echo.peer["x509_subject_alternative_name"] == [CLIENT_NAME.encode()]
        done, _ = bench(echo.target, "echo", *ASKED, "--tls-ca", str(files.ca))
        assert (done.returncode, "give --tls-cert and --tls-key" in done.stderr) == (1, True)
    finally:
        echo.stop()


@pytest.mark.parametrize(
    ("where", "flags", "code", "says"),
    [
        ("grpc", (), 1, "it speaks TLS: give --tls-ca FILE of its authority, or --tls"),
        ("plain", ("--tls-ca", "ca.pem"), 1, "it speaks no TLS, but plaintext: leave --tls"),
        ("grpc", ("--tls-ca", "ca.pem"), 1, "give --tls-cert and --tls-key"),
        ("grpc", ("--tls",), 1, "its certificate is not trusted"),
        ("grpc", ("--tls-ca", "stranger/ca.pem"), 1, "give --tls-ca FILE of the authority that has signed it"),
        ("grpc", ("--tls-ca", "ca.pem", "--tls-server-name", "elsewhere.test"), 1, "give --tls-server-name NAME, the one that it is for"),
        (
            "grpc",
            ("--tls-ca", "ca.pem", "--tls-cert", "stranger/cert.pem", "--tls-key", "stranger/key.pem"),
            1,
            "it may not take the client certificate of --tls-cert",
        ),
        ("grpc", ("--tls-ca", "ca.pem", "--tls-cert", "client.pem", "--tls-key", "client.key"), 1, "UNAUTHENTICATED"),
        ("grpc", ("--tls-ca", "nosuch.pem"), 2, "nosuch.pem: it cannot be read: No such file or directory"),
        ("grpc", ("--tls-ca", "token"), 2, "tls: ca: expected a certificate in PEM"),
        ("grpc", ("--tls-cert", "client.pem"), 2, "tls: certificate needs key, too"),
        ("grpc", ("--tls-cert", "client.pem", "--tls-key", "key.pem"), 2, "it is another key than that of --tls-cert client.pem"),
        ("grpc", ("--tls-server-name", ".test"), 2, "--tls-server-name .test: expected the name of a host"),
    ],
)
def test_why_there_is_no_connection(
    call, server: Serving, files: Files, monkeypatch: pytest.MonkeyPatch, where: str, flags: tuple[str, ...], code: int, says: str
) -> None:
    monkeypatch.chdir(files.ca.parent)
    done = call("bench", server.addresses[where], "double", *ASKED, *flags)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1, "one line"


def test_infer_says_so_too(call, server: Serving, files: Files) -> None:
    done = call("infer", server.addresses["grpc"], "double", "--random")
    assert (done.returncode, "it speaks TLS: give --tls-ca FILE" in done.stderr) == (1, True)
    done = call("infer", server.addresses["grpc"], "double", "--random", "--tls-ca", str(files.ca))
    assert (done.returncode, "give --tls-cert and --tls-key" in done.stderr) == (1, True)


def test_what_is_for_a_server(call, files: Files, repository: Path) -> None:
    done = call("bench", f"embedded:{repository}", "double", *ASKED, "--tls-ca", str(files.ca))
    assert (done.returncode, "--tls-ca is for a server" in done.stderr) == (2, True)
    for secret in (("--token-file", str(files.ca.parent / "token")), ("--metadata", "authorization=Bearer SECRET")):
        done = call("bench", "192.0.2.1:8001", "double", *ASKED, *secret)
        assert (done.returncode, "give --tls or --tls-ca" in done.stderr) == (2, True)
        assert "SECRET" not in done.stderr


@pytest.mark.parametrize(("dies", "quiet"), [(True, ()), (False, ("--quiet",))])
def test_ctrl_c_and_a_server_that_dies_half_way(files: Files, tmp_path: Path, dies: bool, quiet: tuple[str, ...]) -> None:
    """With --quiet the generator is in the process that has Ctrl-C."""
    (tmp_path / "serving").mkdir()
    tls = (*by_tls(files), "--listen", "plaintext:127.0.0.1:0")
    with (
        Serving(tmp_path / "serving", EXAMPLES / "models", *FREE_PORTS, *tls) as server,
        measuring(
            server.addresses["grpc"], "digits", tmp_path, "--tls-ca", str(files.ca), *quiet, plain=server.addresses["listen"][0]
        ) as process,
    ):
        if dies:
            server.process.kill()
        else:
            process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == (1 if dies else 130), errors
    assert "Traceback" not in errors
    report = json.loads((tmp_path / "report.json").read_text())
    ended = "was lost" if dies else "interrupted"
    assert ended in report["measurements"][0]["ended"]
    assert ended in out
    assert report["requests"] > 0
    assert ("connection" in report["errors"]) == dies
