"""The table: each row, its defaults, and what both Python and the docs see of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from inferd.cli.config import markdown
from inferd.config import Address, Settings, fields
from inferd.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_every_field_has_a_row_a_limit_and_a_right_default() -> None:
    for field in fields().values():
        assert re.fullmatch(r"(?:\S+ ?){2,15}(?<=\.)", field.summary), f"{field.name}: one sentence of at most 15 words"
        assert not field.details or field.details.endswith("."), field.name
        if field.kind in ("bytes", "duration", "number"):
            assert field.low is not None, field.name
            assert field.high is not None, field.name


def test_metrics_are_where_the_host_is_or_they_are_told_to_be() -> None:
    assert Settings().metrics_address == Address("127.0.0.1", 8002)
    assert Settings(host="::").metrics_address == Address("::", 8002)
    assert Settings(host="0.0.0.0", metrics_host="::1", metrics_port=0).metrics_address == Address("::1", 0)
    assert Settings(metrics_host="::1", metrics_port=-1).metrics_address is None


def test_addresses_are_of_grpc_and_of_rest() -> None:
    listen = ("unix:/a", "http:unix:/b", "http://[::1]:1")
    found = Settings(listen=listen).addresses()
    assert list(map(str, found)) == ["127.0.0.1:8001", "127.0.0.1:8000", "unix:/a", "unix:/b", "[::1]:1"]
    assert [address.http for address in found] == [False, True, False, True, True]
    assert list(map(str, Settings(http_port=-1).addresses(grpc=False))) == []
    assert (Settings(http_port=-1).serves_http, Settings(http_port=-1, listen=listen).serves_http) == (False, True)


def test_settings_made_by_hand_are_checked_too() -> None:
    assert Settings(grpc_port=0).grpc_port == 0
    with pytest.raises(ConfigError, match=r"grpc_port \(given in Python\): expected a whole number from 0 to 65535, got -1"):
        Settings(grpc_port=-1)
    with pytest.raises(ConfigError, match="expected at most connection_window_bytes"):
        Settings(stream_window_bytes=5 << 20)
    with pytest.raises(TypeError):
        Settings(grpc_prot=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Settings().grpc_port = 1  # type: ignore[misc]


def test_settings_travel_as_json() -> None:
    settings = Settings(models=("a",), metrics_port=-1)
    assert msgspec.convert(json.loads(json.dumps(msgspec.structs.asdict(settings))), Settings) == settings
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"grpc_prot": 1}, Settings)


def test_the_documentation_holds_the_table() -> None:
    assert markdown() in (ROOT / "docs" / "configuration.md").read_text("utf-8"), "run: inferd config --markdown"
