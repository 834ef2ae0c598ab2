"""LitServe over one ONNX model. The body is read as plain bytes: LitServe's own default is JSON."""

import os
from typing import Annotated

import litserve
from fastapi import Body, Response
from session import Rows

Plain = Annotated[bytes, Body(media_type="application/octet-stream")]


class OnnxApi(litserve.LitAPI):
    def setup(self, device):
        self.rows = Rows()

    def decode_request(self, request: Plain):
        return request

    def predict(self, body):
        return self.rows.run([body])[0]

    def encode_response(self, output) -> Response:
        return Response(output, media_type="application/octet-stream")


if __name__ == "__main__":
    api = OnnxApi(api_path="/infer")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60, fast_queue=True)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), num_api_servers=1, log_level="warning", generate_client_file=False)
