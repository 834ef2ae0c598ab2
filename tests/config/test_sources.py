"""Four sources of values: which one wins, and what each rejects."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.config import Settings, fields, load_settings, spell
from inferd.errors import ConfigError
from tests.config.rejections import NOWHERE, rejection

ROOT = Path(__file__).parents[2]


def test_defaults_come_from_nowhere_else() -> None:
    settings, origins = load_settings({}, {"PATH": "/bin", "INFER": "x"}, NOWHERE)
    assert settings == Settings()
    assert set(origins) == set(fields()) == set(msgspec.structs.asdict(settings))
    assert set(origins.values()) == {"default"}


LAYERS = st.fixed_dictionaries({}, optional={name: st.integers(1, 60) for name in ("file", "variable", "flag")})


@given(LAYERS)
def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path_factory: pytest.TempPathFactory, layers: dict[str, int]) -> None:
    folder = tmp_path_factory.mktemp("config")
    if "file" in layers:
        (folder / "inferd.toml").write_text(f"drain_timeout_s = {layers['file']}\n")
    environ = {"INFERD_DRAIN_TIMEOUT_S": str(layers["variable"])} if "variable" in layers else {}
    settings, origins = load_settings({"drain_timeout_s": layers.get("flag")}, environ, folder)
    winner = next((layer for layer in ("flag", "variable", "file") if layer in layers), None)
    names = {"flag": "--drain-timeout-s", "variable": "INFERD_DRAIN_TIMEOUT_S", "file": "inferd.toml", None: "default"}
    assert settings.drain_timeout_s == layers.get(winner or "", 30)
    assert origins["drain_timeout_s"] == names[winner]


@pytest.mark.parametrize("name", sorted(fields()))
def test_an_empty_value_is_rejected_wherever_it_stands(name: str, tmp_path: Path) -> None:
    """An unset variable of a shell must not mean that nobody is asked who comes."""
    field = fields()[name]
    otherwise = field.unset or "none"
    says = f"expected {field.expected}, got ''; leave it out for {spell(field, field.default) or otherwise}"
    for empty in ("", " ", *((",", " , ") if field.kind == "list" else ())):
        assert rejection({name: empty}) == f"{name} ({'PATH' if name == 'models' else field.flag}): {says}"
        assert rejection(environ={field.variable: empty}) == f"{name} ({field.variable}): {says}"
        (tmp_path / "inferd.toml").write_text(f"{name} = '{empty}'\n")
        assert rejection(folder=tmp_path) == f"{name} (inferd.toml): {says}"
    if field.kind == "list":
        (tmp_path / "inferd.toml").write_text(f"{name} = []\n")
        assert rejection(folder=tmp_path) == f"{name} (inferd.toml): {says}"


def test_an_empty_name_of_a_file_is_none() -> None:
    assert "config (INFERD_CONFIG): expected the path of a TOML file, got ''" in rejection(environ={"INFERD_CONFIG": ""})
    with pytest.raises(ConfigError, match=r"config \(--config\): expected the path of a TOML file, got ''; leave it out for inferd.toml"):
        load_settings({}, {}, NOWHERE, config_file="")
    for field in fields().values():
        if field.kind == "file":
            with pytest.raises(ConfigError, match=rf"{field.name} \(given in Python\): expected the path of a file, got ''; leave it out"):
                Settings(**{field.name: ""})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grpc_prot = 1", "inferd.toml: unknown key 'grpc_prot'; did you mean 'grpc_port'?"),
        ("[server]\ngrpc_port = 1", "inferd.toml: unknown key 'server'"),
        ("grpc_port = true", "grpc_port (inferd.toml): expected a whole number from 0 to 65535, got true"),
        ("grpc_port = 1.5", "got 1.5"),
        ("uvloop = 1", "uvloop (inferd.toml): expected true or false, got 1"),
        ("models = [1]", "models (inferd.toml): expected a list of: path"),
        ("models = ['']", "models (inferd.toml): expected a list of: path"),
        ("host = ''", "host (inferd.toml): expected a text that is not empty, got ''"),
        ("max_message_bytes = '64 megs'", "expected a size such as 64MiB from 1KiB to 2147483647, got '64 megs'"),
        ("grpc_port = ", "config: expected TOML in"),
        ("models = " + "[" * 3000, "inferd.toml', got values nested deeper"),
        ("[grpc_port]\nx = 1", "grpc_port (inferd.toml): expected a whole number"),
    ],
)
def test_rejections_of_a_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "inferd.toml").write_text(text)
    assert message in rejection(folder=tmp_path)


@pytest.mark.parametrize("number", ["440", "0o660"])
def test_a_file_mode_in_a_file_is_text(number: str, tmp_path: Path) -> None:
    """As a number it could be meant in octal or not."""
    (tmp_path / "inferd.toml").write_text(f"socket_mode = {number}\n")
    assert "such as 0660, or umask" in (rejection(folder=tmp_path) or "")
    (tmp_path / "inferd.toml").write_text('socket_mode = "0440"\n')
    assert load_settings({}, {}, tmp_path)[0].socket_mode == 0o440


def test_a_file_is_found_by_flag_then_variable_then_in_the_folder(tmp_path: Path) -> None:
    for name, port in (("inferd.toml", 1), ("variable.toml", 2), ("flag.toml", 3)):
        (tmp_path / name).write_text(f"grpc_port = {port}\n")
    environ = {"INFERD_CONFIG": str(tmp_path / "variable.toml")}
    assert load_settings({}, {}, tmp_path)[0].grpc_port == 1
    settings, origins = load_settings({}, environ, tmp_path)
    assert (settings.grpc_port, origins["grpc_port"]) == (2, "variable.toml")
    assert load_settings({}, environ, tmp_path, config_file="flag.toml")[0].grpc_port == 3


def test_a_file_that_is_not_text_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "inferd.toml").write_bytes(b"\xff\xfe")
    assert "config: expected TOML in" in rejection(folder=tmp_path)
    assert "config: expected a readable TOML file" in rejection(environ={"INFERD_CONFIG": "."}, folder=tmp_path)


def test_a_pipe_in_place_of_the_file_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "inferd.toml")
    assert "config: expected a regular file, got" in rejection(folder=tmp_path)


def test_models_of_a_file_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "serving.toml").write_text('models = ["models", "/srv/model.onnx", "s3://bucket/m"]\n')
    settings, _ = load_settings({}, {}, tmp_path, config_file="deploy/serving.toml")
    assert settings.models == (str(tmp_path / "deploy" / "models"), "/srv/model.onnx", "s3://bucket/m")
    (tmp_path / "inferd.toml").write_text('models = ["models"]\n')
    assert load_settings({}, {}, tmp_path)[0].models == ("models",)


SERVICE_LINKS = {  # what Kubernetes puts into every pod for Services named inferd and inferd-grpc
    "INFERD_SERVICE_HOST": "10.0.0.1",
    "INFERD_SERVICE_PORT": "8001",
    "INFERD_SERVICE_PORT_GRPC": "8001",
    "INFERD_PORT": "tcp://10.0.0.1:8001",
    "INFERD_PORT_8001_TCP": "tcp://10.0.0.1:8001",
    "INFERD_PORT_8001_TCP_ADDR": "10.0.0.1",
    "INFERD_GRPC_SERVICE_HOST": "10.0.0.2",
    "INFERD_GRPC_SERVICE_PORT": "8001",
    "INFERD_GRPC_PORT": "tcp://10.0.0.2:8001",
    "INFERD_GRPC_PORT_8001_TCP_PROTO": "tcp",
}


def test_variables_of_kubernetes_service_links_are_no_settings() -> None:
    assert set(load_settings({}, SERVICE_LINKS, NOWHERE)[1].values()) == {"default"}
    assert load_settings({}, SERVICE_LINKS | {"INFERD_GRPC_PORT": "9000"}, NOWHERE)[0].grpc_port == 9000
    assert "INFERD_GRPC_PORT" in rejection(environ={"INFERD_GRPC_PORT": "tcp://10.0.0.2:8001"})


def test_build_variables_are_no_settings() -> None:
    setup = (ROOT / "setup.py").read_text("utf-8")
    names = set(re.findall(r"\bINFERD_[A-Z0-9_]+\b", setup))
    assert {"INFERD_DEBUG", "INFERD_SANITIZE"} < names
    assert load_settings({}, dict.fromkeys(names, "1"), NOWHERE)[0] == Settings()
