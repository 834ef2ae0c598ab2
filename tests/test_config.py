"""Settings: one table, four layers, exact units, and errors that say what to write instead."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.cli.config import markdown
from inferd.config import Address, Field, Settings, fields, load_settings, parse_address, parse_duration, spell
from inferd.errors import ConfigError

NOWHERE = Path("no-such-folder")
ROOT = Path(__file__).parent.parent


def rejection(flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, folder: Path = NOWHERE) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags or {}, environ or {}, folder)
    return str(caught.value)


def from_variable(name: str, text: str) -> object:
    settings, origins = load_settings({}, {fields()[name].variable: text}, NOWHERE)
    assert origins[name] == fields()[name].variable
    return getattr(settings, name)


def outcome(attempt: Callable[[], object], rejection_type: type[Exception]) -> str | None:
    """None, or the rejection's message; any other exception is a failure."""
    try:
        attempt()
    except rejection_type as error:
        return str(error)
    return None


def test_defaults_come_from_nowhere_else() -> None:
    settings, origins = load_settings({}, {"PATH": "/bin", "INFER": "x"}, NOWHERE)
    assert settings == Settings()
    assert set(origins) == set(fields()) == set(msgspec.structs.asdict(settings))
    assert set(origins.values()) == {"default"}


def test_every_field_has_a_row_a_limit_and_a_right_default() -> None:
    for field in fields().values():
        assert field.description.endswith("."), field.name
        if field.kind in ("bytes", "duration", "number"):
            assert field.low is not None, field.name
            assert field.high is not None, field.name


def a_value(field: Field) -> st.SearchStrategy[object]:
    """Values that are right for the field by itself."""
    special: dict[str, st.SearchStrategy[object]] = {
        "message_memory_bytes": st.just(0) | st.integers(1024, field.high),  # auto, or room for one message
        "listen": st.lists(st.sampled_from(["unix:/run/x.sock", "unix:@x", "[::1]:0", "localhost:8001"]), min_size=1).map(tuple),
        "providers": st.lists(st.sampled_from(["cpu", "cuda", "tensorrt"]), min_size=1).map(tuple),
        "models": st.lists(st.from_regex(r"[a-z/]+", fullmatch=True), min_size=1, max_size=3).map(tuple),
        "host": st.sampled_from(["::1", "0.0.0.0", "localhost"]),
        "metrics_host": st.sampled_from(["::1", "0.0.0.0", "localhost"]),
        "tls_allow": st.lists(st.sampled_from(["a", "spiffe://b/c"]), min_size=1, max_size=2).map(tuple),
    }
    if field.name in special:
        return special[field.name]
    if field.kind == "file":
        return st.sampled_from(["/etc/x.pem", "secrets/x"])
    if field.kind == "bool":
        return st.booleans()
    if field.kind == "choice":
        return st.sampled_from(field.choices)
    return st.integers(field.low, field.high)


@given(st.data())
def test_what_spell_writes_is_read_back(data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(sorted(fields().values())))
    value = data.draw(a_value(field))
    others: dict[str, object] = {  # so that only this field is under test
        "stream_window_bytes": 65535,
        "connection_window_bytes": 1 << 30,
        "max_message_bytes": 1024,
        "message_memory_bytes": 1 << 40,
        "metrics_port": -1,
        "grpc_port": 0,
    }
    if field.group == "access" and field.name != "token_file":  # they need each other
        others |= {"tls_cert": "c", "tls_key": "k", "tls_client_ca": "a"}
    others.pop(field.name, None)
    settings, _ = load_settings(others, {field.variable: spell(field, value)}, NOWHERE)
    assert getattr(settings, field.name) == value


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


SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
DURATIONS_IN_S = {"": 1, "s": 1, "min": 60, "h": 3600}


@given(st.integers(0, 10**7), st.sampled_from(sorted(SIZES)), st.booleans())
def test_sizes_are_exact(number: int, unit: str, space: bool) -> None:
    bytes_ = number * SIZES[unit]
    text = f"{number}{' ' if space else ''}{unit}"
    field = fields()["max_unread_bytes"]
    if field.low <= bytes_ <= field.high:
        assert from_variable("max_unread_bytes", text) == bytes_
    else:
        assert "expected a size such as 64MiB from 64KiB to 1TiB" in rejection(environ={"INFERD_MAX_UNREAD_BYTES": text})


@given(st.decimals(0, 100_000, places=4), st.sampled_from(sorted(DURATIONS_IN_S)))
def test_durations_are_whole_steps_or_rejected(number: object, unit: str) -> None:
    milli = round(float(str(number)) * 10_000) * DURATIONS_IN_S[unit]
    whole, rest = divmod(milli, 10_000)
    if rest or whole > 86_400:
        assert "in steps of 1s" in rejection(environ={"INFERD_DRAIN_TIMEOUT_S": f"{number}{unit}"})
    else:
        assert from_variable("drain_timeout_s", f"{number}{unit}") == whole


@pytest.mark.parametrize(
    ("text", "ns"),
    [(".1s", 10**8), ("0.1s", 10**8), (".25", 25 * 10**7), ("0s", 0), ("1.50 ms", 1_500_000), ("007s", 7 * 10**9)],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["", "s", ".", ".s", "1.s", "1..5s", ".1.5s", "-1s", "+1s", "1e3s", "1 0s", "1parsec", ".0000000001s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_durations_convert_between_units() -> None:
    assert from_variable("inline_limit_us", "0.2ms") == 200
    assert from_variable("inline_limit_us", "50000ns") == 50
    assert from_variable("inline_limit_us", "70µs") == 70
    assert from_variable("drain_timeout_s", "2000ms") == 2
    assert "in steps of 1us" in rejection(environ={"INFERD_INLINE_LIMIT_US": "1500ns"})


@given(st.sampled_from(sorted(fields())), st.text(max_size=60))
def test_any_text_is_taken_or_rejected_with_the_name_and_the_origin(name: str, text: str) -> None:
    variable = fields()[name].variable
    message = outcome(lambda: load_settings({}, {variable: text}, NOWHERE), ConfigError)
    assert message is None or (name in message and variable in message)


def test_words_stand_for_numbers() -> None:
    assert from_variable("metrics_port", "off") == -1
    assert from_variable("instances", "auto") == from_variable("workers", "auto") == 0
    assert from_variable("log_level", "ERROR") == "error"
    assert [from_variable("uvloop", text) for text in ("0", "no", "Off", "false", "1", "YES", "on", "true")] == [False] * 4 + [True] * 4


def test_metrics_are_where_the_host_is_or_they_are_told_to_be() -> None:
    assert Settings().metrics_address == Address("127.0.0.1", 8002)
    assert Settings(host="::").metrics_address == Address("::", 8002)
    assert Settings(host="0.0.0.0", metrics_host="::1", metrics_port=0).metrics_address == Address("::1", 0)
    assert Settings(metrics_host="::1", metrics_port=-1).metrics_address is None


def test_lists() -> None:
    assert from_variable("providers", " cuda , cpu ") == ("cuda", "cpu")
    assert from_variable("listen", "unix:/a,[::1]:1") == ("unix:/a", "[::1]:1")
    assert load_settings({"models": ("a,b", "c")}, {}, NOWHERE)[0].models == ("a,b", "c")


@pytest.mark.parametrize("name", sorted(fields()))
def test_an_empty_value_is_rejected_wherever_it_stands(name: str, tmp_path: Path) -> None:
    """An unset variable of a shell must not mean that nobody is asked who comes."""
    field = fields()[name]
    otherwise = "the same as host" if name == "metrics_host" else "none"
    says = f"expected {field.expected}, got ''; leave it out for {spell(field, field.default) or otherwise}"
    for empty in ("", " ", *((",", " , ") if field.kind == "list" else ())):
        assert rejection({name: empty}) == f"{name} ({'PATH' if name == 'models' else field.flag}): {says}"
        assert rejection(environ={field.variable: empty}) == f"{name} ({field.variable}): {says}"
        (tmp_path / "inferd.toml").write_text(f"{name} = '{empty}'\n")
        assert rejection(folder=tmp_path) == f"{name} (inferd.toml): {says}"
    if field.kind == "list":
        (tmp_path / "inferd.toml").write_text(f"{name} = []\n")
        assert rejection(folder=tmp_path) == f"{name} (inferd.toml): {says}"


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


def test_an_empty_name_of_a_file_is_none() -> None:
    assert "config (INFERD_CONFIG): expected the path of a TOML file, got ''" in rejection(environ={"INFERD_CONFIG": ""})
    with pytest.raises(ConfigError, match=r"config \(--config\): expected the path of a TOML file, got ''; leave it out for inferd.toml"):
        load_settings({}, {}, NOWHERE, config_file="")
    for field in fields().values():
        if field.kind == "file":
            with pytest.raises(ConfigError, match=rf"{field.name} \(given in Python\): expected the path of a file, got ''; leave it out"):
                Settings(**{field.name: ""})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"INFERD_GRPC_PORT": "http"}, "grpc_port (INFERD_GRPC_PORT): expected a whole number from 0 to 65535, got 'http'"),
        ({"INFERD_GRPC_PORT": "70000"}, "grpc_port (INFERD_GRPC_PORT): expected a whole number from 0 to 65535, got 70000"),
        ({"INFERD_METRICS_PORT": "-2"}, "metrics_port (INFERD_METRICS_PORT): expected a whole number from 0 to 65535, or off, got -2"),
        ({"INFERD_TRANSPORT": "natve"}, "expected one of auto, native, grpcio, got 'natve'; did you mean 'native'?"),
        ({"INFERD_PROVIDERS": "cda"}, "expected cpu, cuda, tensorrt, got 'cda'; did you mean 'cuda'?"),
        ({"INFERD_UVLOOP": "maybe"}, "uvloop (INFERD_UVLOOP): expected true or false, got 'maybe'"),
        ({"INFERD_LISTEN": "::1:80"}, "expected an IPv6 address in brackets, such as [::1]:8001, got '::1:80'"),
        ({"INFERD_HOST": "a..b"}, "host (INFERD_HOST): expected an IPv4 or IPv6 address, or a name of parts of 1 to 63 characters, got"),
        ({"INFERD_METRICS_HOST": "x" * 64}, "metrics_host (INFERD_METRICS_HOST): expected an IPv4 or IPv6 address, or a name of parts"),
        ({"INFERD_LISTEN": f"{'x' * 64}:80"}, "listen (INFERD_LISTEN): expected an IPv4 or IPv6 address, or a name of parts of 1 to 63"),
        ({"INFERD_GRPC_PROT": "1"}, "unknown variable INFERD_GRPC_PROT; did you mean 'INFERD_GRPC_PORT'?"),
        ({"INFERD_METRICS_PORT": "8001"}, "metrics_port (INFERD_METRICS_PORT): expected another port than grpc_port's"),
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
    (tmp_path / "deploy" / "serving.toml").write_text('models = ["models", "/srv/model.onnx"]\n')
    settings, _ = load_settings({}, {}, tmp_path, config_file="deploy/serving.toml")
    assert settings.models == (str(tmp_path / "deploy" / "models"), "/srv/model.onnx")
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
    setup = (Path(__file__).resolve().parent.parent / "setup.py").read_text("utf-8")
    names = set(re.findall(r"\bINFERD_[A-Z0-9_]+\b", setup))
    assert {"INFERD_DEBUG", "INFERD_HTTP2", "INFERD_WEBP"} < names
    assert load_settings({}, dict.fromkeys(names, "1"), NOWHERE)[0] == Settings()


def test_settings_made_by_hand_are_checked_too() -> None:
    assert Settings(grpc_port=0).grpc_port == 0
    with pytest.raises(ConfigError, match=r"grpc_port \(given in Python\): expected a whole number from 0 to 65535, got -1"):
        Settings(grpc_port=-1)
    with pytest.raises(ConfigError, match="expected at most connection_window_bytes"):
        Settings(connection_window_bytes=65535)
    with pytest.raises(TypeError):
        Settings(grpc_prot=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Settings().grpc_port = 1  # type: ignore[misc]


def test_settings_travel_as_json() -> None:
    settings = Settings(models=("a",), metrics_port=-1)
    assert msgspec.convert(json.loads(json.dumps(msgspec.structs.asdict(settings))), Settings) == settings
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"grpc_prot": 1}, Settings)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8001", Address("localhost", 8001)),
        ("[::1]:0", Address("::1", 0)),
        ("unix:/run/inferd.sock", Address("", 0, "/run/inferd.sock")),
        ("unix:///run/inferd.sock", Address("", 0, "/run/inferd.sock")),
        ("unix:here.sock", Address("", 0, "here.sock")),
        ("unix:@inferd", Address("", 0, "@inferd")),
        ("unix-abstract:inferd", Address("", 0, "@inferd")),
        ("unix:./@inferd", Address("", 0, "./@inferd")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


def test_names_of_unix_sockets() -> None:
    path, name = Address("", 0, "/run/x"), Address("", 0, "@x")
    assert (path.is_abstract, path.socket_name, path.for_grpc) == (False, "/run/x", "unix:/run/x")
    assert (name.is_abstract, name.socket_name, name.for_grpc) == (True, "\0x", "unix-abstract:x")
    assert Address("::1", 1).for_grpc == "[::1]:1"


@pytest.mark.parametrize(("text", "mode"), [("0660", 0o660), ("600", 0o600), ("0000", 0), ("umask", -1)])
def test_file_modes(text: str, mode: int) -> None:
    assert from_variable("socket_mode", text) == mode


@pytest.mark.parametrize("text", ["0o660", "888", "1777", "66", "-1", "rw-rw----"])
def test_what_is_no_file_mode(text: str) -> None:
    message = rejection(environ={"INFERD_SOCKET_MODE": text})
    assert message is not None
    assert "expected a file mode of three or four octal digits such as 0660, or umask, got" in message


@pytest.mark.parametrize("number", ["440", "0o660"])
def test_a_file_mode_in_a_file_is_text(number: str, tmp_path: Path) -> None:
    """As a number it could be meant in octal or not."""
    (tmp_path / "inferd.toml").write_text(f"socket_mode = {number}\n")
    assert "such as 0660, or umask" in (rejection(folder=tmp_path) or "")
    (tmp_path / "inferd.toml").write_text('socket_mode = "0440"\n')
    assert load_settings({}, {}, tmp_path)[0].socket_mode == 0o440


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("http://localhost:8001", "'localhost:8001'"),
        ("grpc://[::1]:8001/", "'[::1]:8001'"),
        ("dns:///models.example:80", "'models.example:80'"),
        ("https://localhost:8001/v2/models", "'localhost:8001' (flags say whether TLS is spoken)"),
        ("http://localhost", "'localhost:PORT'"),
        ("http://", "'HOST:PORT'"),
    ],
)
def test_of_a_url_it_is_said_what_to_write_instead(text: str, instead: str) -> None:
    message = outcome(lambda: parse_address(text), ValueError)
    assert message == f"expected host:port or unix:/path, got the URL '{text}': write {instead}"


@given(st.text(max_size=30) | st.from_regex(r"(\[[:0-9a-f]*\]|[a-z.]*):[0-9]*", fullmatch=True))
def test_any_address_is_read_or_rejected(text: str) -> None:
    message = outcome(lambda: parse_address(text), ValueError)
    assert message is None or "expected" in message
    if message is None:
        address = parse_address(text)
        assert address.path or 0 <= address.port <= 65535
        assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "localhost", ":8001", "localhost:", "localhost:65536", "localhost:-1", "::1:80", "unix:", "unix:a\0b", "unix:@"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_address(text)


def test_the_documentation_holds_the_table() -> None:
    assert markdown() in (ROOT / "docs" / "configuration.md").read_text("utf-8"), "run: inferd config --markdown"


def test_spell_is_exact_for_sizes() -> None:
    assert [spell(fields()["max_message_bytes"], value) for value in (0, 1, 1024, 1536, 1 << 20)] == ["0", "1", "1KiB", "1536", "1MiB"]
