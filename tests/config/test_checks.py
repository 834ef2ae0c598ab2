"""Errors of values, each and all together, say what to write instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferd.config import Settings, fields
from inferd.errors import ConfigError
from inferd.record.samples import parse_samples
from tests.config.rejections import rejection

KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("content", [KEY, KEY.replace("\n", " "), "one secret\nanother secret", "a secret\rof old", "secret\0"])
def test_what_stands_in_a_file_is_not_its_path(content: str, tmp_path: Path) -> None:
    """It may be a key: nothing repeats it."""
    (tmp_path / "inferd.toml").write_text(f"tls_key = {json.dumps(content)}\n")
    said = [rejection(folder=tmp_path), rejection(environ={"INFERD_CONFIG": content})]
    for field in fields().values():
        if field.kind == "file" or field.name == "models":
            said += [rejection({field.name: content}), rejection(environ={field.variable: content})]
            with pytest.raises(ConfigError) as caught:
                Settings(**{field.name: (content,) if field.name == "models" else content})
            said.append(str(caught.value))
    assert all("expected a path, got " in text and "give the path of the file, not its content" in text for text in said)
    assert not any("secret" in text or "c2Vj" in text for text in said)
    assert said[0].startswith("tls_key (inferd.toml): ")
    assert said[1].startswith("config (INFERD_CONFIG): ")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"INFERD_GRPC_PORT": "http"}, "grpc_port (INFERD_GRPC_PORT): expected a whole number from 0 to 65535, got 'http'"),
        ({"INFERD_GRPC_PORT": "70000"}, "grpc_port (INFERD_GRPC_PORT): expected a whole number from 0 to 65535, got 70000"),
        ({"INFERD_METRICS_PORT": "-2"}, "metrics_port (INFERD_METRICS_PORT): expected a whole number from 0 to 65535, or off, got -2"),
        ({"INFERD_TRANSPORT": "natve"}, "expected one of native, grpcio, got 'natve'; did you mean 'native'?"),
        ({"INFERD_PROVIDERS": "cda"}, "expected cpu, cuda, tensorrt, got 'cda'; did you mean 'cuda'?"),
        ({"INFERD_UVLOOP": "maybe"}, "uvloop (INFERD_UVLOOP): expected true or false, got 'maybe'"),
        ({"INFERD_LISTEN": "::1:80"}, "expected an IPv6 address in brackets, such as [::1]:8001, got '::1:80'"),
        ({"INFERD_HOST": "a..b"}, "host (INFERD_HOST): expected an IPv4 or IPv6 address, or a name of parts of 1 to 63 characters, got"),
        ({"INFERD_METRICS_HOST": "x" * 64}, "metrics_host (INFERD_METRICS_HOST): expected an IPv4 or IPv6 address, or a name of parts"),
        ({"INFERD_LISTEN": f"{'x' * 64}:80"}, "listen (INFERD_LISTEN): expected an IPv4 or IPv6 address, or a name of parts of 1 to 63"),
        ({"INFERD_GRPC_PROT": "1"}, "unknown variable INFERD_GRPC_PROT; did you mean 'INFERD_GRPC_PORT'?"),
        ({"INFERD_METRICS_PORT": "8001"}, "metrics_port (INFERD_METRICS_PORT): expected another port than grpc_port's"),
        ({"INFERD_GRPC_PORT": "8000"}, "http_port (default): expected another port than grpc_port's, 0 (a free one) or off, got 8000"),
        ({"INFERD_METRICS_PORT": "8000"}, "metrics_port (INFERD_METRICS_PORT): expected another port than http_port's"),
        ({"INFERD_CORS_ORIGIN": "app.example"}, "cors_origin (INFERD_CORS_ORIGIN): expected SCHEME://HOST or SCHEME://HOST:PORT"),
        ({"INFERD_CORS_ORIGIN": "https://app.example/page"}, "as a browser sends it, or *, got 'https://app.example/page'"),
        (
            {"INFERD_STREAM_WINDOW_BYTES": "8MiB"},
            "stream_window_bytes (INFERD_STREAM_WINDOW_BYTES): expected at most connection_window_bytes, which is 4MiB (default), got 8MiB",
        ),
        (
            {"INFERD_WORKERS": "17", "INFERD_MESSAGE_MEMORY_BYTES": "1GiB"},
            "workers (INFERD_WORKERS): expected at most 16, so that each one's part of message_memory_bytes (1GiB) holds a",
        ),
        ({"INFERD_WORKERS": "2", "INFERD_TRANSPORT": "grpcio"}, "workers (INFERD_WORKERS): expected 1 with transport grpcio"),
        ({"INFERD_MESSAGE_MEMORY_BYTES": "1MiB"}, "expected at most message_memory_bytes, which is 1MiB (INFERD_MESSAGE_MEMORY_BYTES)"),
        ({"INFERD_CONFIG": "nothing.toml"}, "config (INFERD_CONFIG): expected a TOML file, got 'nothing.toml', which does not exist"),
    ],
)
def test_rejections_say_what_to_write(environ: dict[str, str], message: str) -> None:
    assert message in rejection(environ=environ)


def test_what_is_recorded_is_checked() -> None:
    for changes, message in (
        ({"record_sample": ("2",)}, "record_sample (given in Python): expected a share from 0 to 1, such as 0.01 or MODEL=0.01, got '2'"),
        ({"record_sample": ("digits",)}, "got 'digits'"),
        ({"record_sample": ("0.1", "0.2")}, "expected one share for all models, got several"),
        ({"record_sample": ("a=1", "a=0")}, "expected one share for the model 'a', got several"),
        ({"record": "r", "record_hash": ("x",)}, "record_hash (given in Python): expected record_key_file, too, got none"),
        ({"record_hash": ("x",), "record_omit": ("x",)}, "expected names that record_omit does not have, got 'x' in both"),
    ):
        with pytest.raises(ConfigError) as caught:
            Settings(**changes)
        assert message in str(caught.value)
    assert parse_samples(()) == {"": 1}
    assert parse_samples(("0.01", "a=b=0.5")) == {"": 0.01, "a=b": 0.5}
    assert parse_samples(("a=1",)) == {"": 0, "a": 1}
