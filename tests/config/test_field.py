"""One value from text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.config import Field, fields, load_settings, spell
from inferd.errors import ConfigError
from tests.config.rejections import NOWHERE, from_variable, outcome, rejection


def a_value(field: Field) -> st.SearchStrategy[object]:
    """Values that are right for the field by itself."""
    special: dict[str, st.SearchStrategy[object]] = {
        "message_memory_bytes": st.just(0) | st.integers(1024, field.high),  # auto, or room for one message
        "listen": st.lists(st.sampled_from(["unix:/run/x.sock", "unix:@x", "[::1]:0", "localhost:8001", "http:unix:@x"]), min_size=1).map(
            tuple
        ),
        "cors_origin": st.lists(st.sampled_from(["https://a", "http://[::1]:80", "*"]), min_size=1, max_size=2).map(tuple),
        "providers": st.lists(st.sampled_from(["cpu", "cuda", "tensorrt"]), min_size=1).map(tuple),
        "models": st.lists(st.from_regex(r"[a-z/]+", fullmatch=True), min_size=1, max_size=3).map(tuple),
        "load_model": st.lists(st.sampled_from(["digits", "*"]), min_size=1, max_size=2).map(tuple),
        "record_sample": st.sampled_from([("0.01",), ("digits=1", "0.5")]),
        "drift_webhook": st.sampled_from(["http://a/hook", "https://b.example:8443/"]),
        "drift_command": st.just(("retrain", "--now")),
        "feedback_slices": st.just(("region", "age")),
        "record_omit": st.just(("x", "y")),
        "record_hash": st.just(("x",)),
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
        "http_port": -1,
        "grpc_port": 0,
    }
    if field.group == "access" and field.name != "token_file":  # they need each other
        others |= {"tls_cert": "c", "tls_key": "k", "tls_client_ca": "a"}
    others.pop(field.name, None)
    settings, _ = load_settings(others, {field.variable: spell(field, value)}, NOWHERE)
    assert getattr(settings, field.name) == value


def test_spell_is_exact_for_sizes() -> None:
    assert [spell(fields()["max_message_bytes"], value) for value in (0, 1, 1024, 1536, 1 << 20)] == ["0", "1", "1KiB", "1536", "1MiB"]


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


def test_lists() -> None:
    assert from_variable("providers", " cuda , cpu ") == ("cuda", "cpu")
    assert from_variable("listen", "unix:/a,[::1]:1") == ("unix:/a", "[::1]:1")
    assert load_settings({"models": ("a,b", "c")}, {}, NOWHERE)[0].models == ("a,b", "c")


@pytest.mark.parametrize(("text", "mode"), [("0660", 0o660), ("600", 0o600), ("0000", 0), ("umask", -1)])
def test_file_modes(text: str, mode: int) -> None:
    assert from_variable("socket_mode", text) == mode


@pytest.mark.parametrize("text", ["0o660", "888", "1777", "66", "-1", "rw-rw----"])
def test_what_is_no_file_mode(text: str) -> None:
    message = rejection(environ={"INFERD_SOCKET_MODE": text})
    assert message is not None
    assert "expected a file mode of three or four octal digits such as 0660, or umask, got" in message
