"""LogSettings changes the log, as Triton's clients expect it; TraceSetting says that there is no tracing. On both transports."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from inferd.serving.parts.live_settings.rpc import LiveSettings
from tests.fake_repository import FakeModel, FakeRepository
from tests.transport_fixtures import serving

START = {"log_file": "", "log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0, "log_format": "default"}


@pytest.fixture(autouse=True)
def log_at_info() -> Iterator[None]:
    logger = logging.getLogger("inferd")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


@pytest.fixture(params=["native", "grpcio"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[triton.InferenceServerClient]:
    repository: Any = FakeRepository(FakeModel("m", 1))
    async with (
        serving(request.param, LiveSettings(repository).methods()) as address,
        triton.InferenceServerClient(address) as client,
    ):
        yield client


def told(response: Any) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in response.settings.items()}


async def status_of(awaitable: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        await awaitable
    return caught.value.status(), caught.value.message()


async def test_the_log_as_tritons_own_tests_change_it(client: triton.InferenceServerClient) -> None:
    assert told(await client.get_log_settings()) == START
    logger = logging.getLogger("inferd.serving.server")
    for change, level in (
        ({"log_info": False}, logging.WARNING),
        ({"log_info": False, "log_warning": False}, logging.ERROR),
        ({"log_info": False, "log_warning": False, "log_error": False}, logging.CRITICAL),
        ({"log_verbose_level": 3, "log_format": "ISO8601"}, logging.DEBUG),
        ({"bogus": True}, logging.DEBUG),
        (START | {"log_file": None}, logging.INFO),
    ):
        settings = told(await client.update_log_settings(change))
        assert settings == settings | {name: value for name, value in change.items() if name in settings and value is not None}
        assert logger.getEffectiveLevel() == level
    assert told(await client.get_log_settings()) == START


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"log_file": "x.log"}, "UNIMPLEMENTED", "log file location can not be updated through network protocol"),
        ({"log_format": "json"}, "INVALID_ARGUMENT", "log_format: expected default or ISO8601, got 'json'"),
    ],
)
async def test_a_change_that_is_wrong_changes_nothing(
    client: triton.InferenceServerClient, change: dict[str, Any], status: str, words: str
) -> None:
    code, message = await status_of(client.update_log_settings({"log_error": False, "log_warning": False, "log_info": False, **change}))
    assert (code, words in message) == (f"StatusCode.{status}", True)
    assert told(await client.get_log_settings()) == START


async def test_a_value_of_another_type(client: triton.InferenceServerClient) -> None:
    from tritonclient.grpc import service_pb2

    request = service_pb2.LogSettingsRequest()
    request.settings["log_info"].uint32_param = 1
    with pytest.raises(Exception, match=r"log_info: expected true or false, got a number \(uint32\)"):
        await client._client_stub.LogSettings(request)


async def test_tracing_is_off(client: triton.InferenceServerClient) -> None:
    for arguments in ({}, {"model_name": "m"}):
        settings = (await client.get_trace_settings(**arguments)).settings
        assert {name: list(value.value) for name, value in settings.items()} == {
            "trace_level": ["OFF"],
            "trace_rate": ["1000"],
            "trace_count": ["-1"],
            "log_frequency": ["0"],
            "trace_file": [""],
            "trace_mode": ["triton"],
        }
    settings = (await client.update_trace_settings(settings={"trace_level": "OFF", "trace_rate": "5", "bogus": "1"})).settings
    assert list(settings["trace_rate"].value) == ["1000"], "what is in force"
    code, message = await status_of(client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}))
    assert (code, "trace_level: tracing is not built into this server" in message) == ("StatusCode.UNIMPLEMENTED", True)
    assert (await status_of(client.get_trace_settings("none")))[0] == "StatusCode.INVALID_ARGUMENT"
