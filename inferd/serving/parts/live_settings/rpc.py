"""LogSettings and TraceSetting: settings that clients may read while the server runs. They may change those of the log.

Names, values and error texts are Triton's; like Triton, it ignores unknown names. No client changes the log's form or file.
There is no tracing: TraceSetting returns that it is off. Never in here: how a line is written (inferd.log).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inferd import log as logs
from inferd.errors import InvalidArgument, NotFound, Unimplemented
from inferd.log import LIMITED, event
from inferd.part import Method
from inferd.protocol import inference
from inferd.serving.parts.inspection.rpc import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from inferd.engine.models.repository import Repository

log = logging.getLogger(__name__)

_LEVELS = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
_FORMATS = ("default", "ISO8601")  # both have the same effect: every line of text begins with a time in ISO 8601
_TYPES = {"bool_param": "true or false", "uint32_param": "a number (uint32)", "string_param": "a string"}
_WANTED = {**dict.fromkeys(_LEVELS, "bool_param"), "log_verbose_level": "uint32_param", "log_format": "string_param"}
_NO_TRACE = {
    "trace_file": "",
    "trace_level": "OFF",
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_mode": "triton",
}


class LiveSettings:
    """Both methods. show: changes the levels of this process's log; a worker replaces it to change those of all processes."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.show: Callable[[Collection[int]], object] = logs.show_levels
        self._format = _FORMATS[0]
        self._verbose = 1  # the last log_verbose_level of a client

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        return {
            f"/{SERVICE}/LogSettings": Method("unary", self.log_settings, inference.LogSettingsRequest, inference.LogSettingsResponse),
            f"/{SERVICE}/TraceSetting": Method("unary", self.trace_setting, inference.TraceSettingRequest, inference.TraceSettingResponse),
        }

    async def log_settings(self, request: inference.LogSettingsRequest) -> inference.LogSettingsResponse:
        """Changes what the request names, all or nothing, and returns all settings."""
        if asked := _checked(request.settings):
            self._change(asked)
        shown = logs.shown_levels()
        Value = inference.LogSettingsResponse.SettingValue  # noqa: N806 - a class
        settings = {name: Value(bool_param=level in shown) for name, level in _LEVELS.items()}
        settings["log_verbose_level"] = Value(uint32_param=self._verbose if logging.DEBUG in shown else 0)
        settings["log_format"] = Value(string_param=self._format)
        settings["log_file"] = Value(string_param="")
        return inference.LogSettingsResponse(settings=settings)

    def _change(self, asked: Mapping[str, bool | int | str]) -> None:
        shown = logs.shown_levels()
        wanted = {level for name, level in _LEVELS.items() if asked.get(name, level in shown)}
        if asked.get("log_verbose_level", logging.DEBUG in shown):
            wanted.add(logging.DEBUG)
        self._verbose = int(asked.get("log_verbose_level") or self._verbose)
        self._format = str(asked.get("log_format", self._format))
        if wanted != shown:
            names = ", ".join(logging.getLevelName(level).lower() for level in sorted(wanted)) or "no"
            fields = event("log_changed", levels=names) | LIMITED
            log.warning("a client changed the log: it has %s lines from now on", names, extra=fields)
            self.show(wanted)

    async def trace_setting(self, request: inference.TraceSettingRequest) -> inference.TraceSettingResponse:
        """The settings of a server without traces. Rejects a request for traces; all else has no effect."""
        if request.model_name and not self._repository.is_on_demand(request.model_name, ""):
            try:
                self._repository.lookup(request.model_name, "")
            except NotFound as error:
                raise InvalidArgument(str(error)) from None
        asked = list(request.settings["trace_level"].value) if "trace_level" in request.settings else []
        if asked not in ([], ["OFF"]):
            raise Unimplemented(
                "trace_level: tracing is not built into this server, so the level stays OFF: read the durations of each stage from "
                "ModelStatistics or /metrics"
            )
        Value = inference.TraceSettingResponse.SettingValue  # noqa: N806 - a class
        return inference.TraceSettingResponse(settings={name: Value(value=[value]) for name, value in _NO_TRACE.items()})


def _checked(settings: Mapping[str, inference.LogSettingsRequest.SettingValue]) -> dict[str, bool | int | str]:
    """The settings that have a value. Raises InvalidArgument and Unimplemented."""
    asked: dict[str, bool | int | str] = {}
    for name, value in settings.items():
        kind = value.WhichOneof("parameter_choice")
        if name == "log_file" and kind:
            raise Unimplemented("log_file: log file location can not be updated through network protocol; the log goes to stderr")
        if kind is None or name not in _WANTED:
            continue
        if kind != _WANTED[name]:
            raise InvalidArgument(f"{name}: expected {_TYPES[_WANTED[name]]}, got {_TYPES[kind]}")
        asked[name] = getattr(value, kind)
        if name == "log_format" and asked[name] not in _FORMATS:
            raise InvalidArgument(f"log_format: expected {' or '.join(_FORMATS)}, got {value.string_param[:64]!r}")
    return asked
