"""BentoML over one ONNX model. The bodies are plain bytes: its own default is JSON."""

import bentoml
from session import Rows
from starlette.responses import Response


class Request(bentoml.IODescriptor):
    """A body that is not parsed, as a batch of one."""

    bodies: list[bytes]

    @classmethod
    async def from_http_request(cls, request, serde):
        return cls(bodies=[await request.body()])


class Answer(bentoml.IODescriptor):
    """The same on the way back."""

    @classmethod
    async def to_http_response(cls, obj, serde):
        return Response(obj[0], media_type="application/octet-stream")


@bentoml.service(workers=1, traffic={"timeout": 60}, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Onnx:
    def __init__(self) -> None:
        self.rows = Rows()

    @bentoml.api(route="/infer", input_spec=Request, output_spec=Answer, batchable=True, max_batch_size=64, max_latency_ms=60000)
    def infer(self, bodies):
        return self.rows.run(bodies)
