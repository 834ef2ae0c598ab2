"""The text of a start on a terminal: columns, what clients must bring, and nothing that a terminal obeys."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from inferd.cli import start_screen
from inferd.config import Settings
from inferd.serving.summary import ModelSummary
from tests.certificates import Files

DIGITS = ModelSummary("digits", 1, (("image", "FP32", (-1, 8, 8)),), batched=True, max_rows=64, place="CPU")
CATS = ModelSummary("cats", 1, (("image", "BYTES", (-1, 1)),), batched=True, place="2 x GPU", flags=("--image",))
ADDRESSES = {"grpc": "0.0.0.0:8001", "http": "0.0.0.0:8000", "metrics": "127.0.0.1:8002", "listen": ["unix:/run/x.sock"]}


def shown(*models: ModelSummary, **settings: object) -> str:
    return click.unstyle(start_screen.started(ADDRESSES, models, Settings(**settings)))


@pytest.fixture(autouse=True)
def name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_screen, "command_name", lambda: "inferd")


def test_a_line_a_model_and_the_addresses() -> None:
    other = ModelSummary("digits", 2, (("x", "INT64", (3, -1)),), place="CPU", unserved=(1,))
    assert shown(DIGITS, other, CATS, ModelSummary("bad", error="x"), host="0.0.0.0") == "\n".join(
        [
            "",
            "  digits/1  image FP32[N,8,8]  batches of up to 64  CPU",
            "  digits/2  x INT64[3,?]       no batching          CPU  version 2, not 1 (version_policy)",
            "  cats      image BYTES[N,1]   no batching          2 x GPU",
            "  bad       skipped: it cannot be loaded; the error is above",
            "",
            "  gRPC     localhost:8001  (all addresses, 0.0.0.0)",
            "  REST     http://localhost:8000",
            "           unix:/run/x.sock",
            "  metrics  http://localhost:8002/metrics",
            "  try      inferd infer localhost:8001 digits --random",
            "",
            "  Ready. Ctrl-C stops the server.",
            "",
        ]
    )


def test_the_command_gives_what_the_model_takes() -> None:
    assert "  try      inferd infer localhost:8001 cats --image FILE.jpg\n" in shown(CATS)
    assert "infer localhost:8001 digits --random" in shown(CATS, DIGITS)
    assert "  try " not in shown(ModelSummary("bad", error="x"))


def test_the_command_brings_what_the_server_asks_for(tmp_path: Path) -> None:
    made = Files.made(tmp_path)
    signed, own = made.cert, made.ca
    files = {"tls_key": "key.pem", "token_file": "my tokens"}
    assert "digits --random --tls --token-file 'my tokens'\n" in shown(DIGITS, tls_cert=str(signed), **files)
    assert f"--random --tls-ca {own} --tls-cert CLIENT.pem --tls-key CLIENT.key" in shown(
        DIGITS, tls_cert=str(own), tls_client_ca="ca.pem", **files
    )


def test_a_name_cannot_move_the_cursor() -> None:
    text = start_screen.started(ADDRESSES, [ModelSummary("a\x1b[2Jb", 1, place="CPU")], Settings())
    assert "\x1b[2J" not in re.sub("\x1b\\[[0-9]*m", "", text)
