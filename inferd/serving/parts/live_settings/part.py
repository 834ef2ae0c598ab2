"""Settings of the log and of traces: the RPCs of rpc.py, the same by REST, and a metric of dropped log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd import log as logs
from inferd.errors import InvalidArgument
from inferd.part import Part, counter, operation
from inferd.part.bodies import MAX_SHOWN_CHARS, json_object, set_parameter
from inferd.part.resource import Asked, Resource, Response, json_response
from inferd.protocol import inference
from inferd.serving.parts.live_settings.rpc import LiveSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.part import Method, Table
    from inferd.serving.parts.registry import Parts


def make(parts: Parts) -> Part:
    return LiveSettingsPart(LiveSettings(parts.repository))


class LiveSettingsPart(Part):
    def __init__(self, live: LiveSettings) -> None:
        self.live = live

    def methods(self) -> dict[str, Method]:
        return self.live.methods()

    def metrics(self) -> Iterator[Table]:
        yield counter("inferd_log_dropped", "Log lines that were dropped: stderr was not read fast enough.", logs.dropped())

    def resources(self) -> list[Resource]:
        of, get, post = Resource.of, operation.get, operation.post
        shown = get("modelTraceSettings", "What is traced of a model.", "404", parameters=("model",))
        changed = post("setModelTraceSettings", "Sets what is traced of a model.", "404", "501", parameters=("model",))
        all_shown, all_changed = get("traceSettings", "What is traced."), post("setTraceSettings", "Sets what is traced.", "501")
        levels, new_levels = get("logSettings", "The log's level."), post("setLogSettings", "Sets the log's level.")
        return [
            of("v2/logging", self._logging, GET=levels, POST=new_levels),
            of("v2/models/{model}/trace/setting", self._trace, GET=shown, POST=changed),
            of("v2/trace/setting", self._trace, GET=all_shown, POST=all_changed),
        ]

    async def _logging(self, asked: Asked) -> Response:
        request = inference.LogSettingsRequest()
        for name, value in json_object(asked.body).items():
            set_parameter(request.settings[name], name, value)
        found = await self.live.log_settings(request)
        settings = sorted(found.settings.items())
        return json_response({name: getattr(value, str(value.WhichOneof("parameter_choice"))) for name, value in settings})

    async def _trace(self, asked: Asked) -> Response:
        """Reads and sets trace settings; null resets one to the server's own value."""
        request = inference.TraceSettingRequest(model_name=asked.model)
        for name, value in json_object(asked.body).items():
            values = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(each, str) for each in values):
                raise InvalidArgument(f"{name[:MAX_SHOWN_CHARS]}: expected a string, an array of strings or null")
            request.settings[name].value.extend(values)
        found = await self.live.trace_setting(request)
        settings = {name: list(setting.value) for name, setting in sorted(found.settings.items())}
        return json_response({name: values if name == "trace_level" else "".join(values) for name, values in settings.items()})
