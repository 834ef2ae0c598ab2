"""KServe's Python model server over one ONNX model."""

import os

from kserve import InferOutput, InferResponse, Model, ModelServer
from session import NAME, open_session

REST = os.environ["PEER_PROTOCOL"] == "v2-json"


class OnnxModel(Model):
    def load(self):
        self.session = open_session()
        self.output = self.session.get_outputs()[0].name
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        values = {value.name: value.as_numpy() for value in payload.inputs}
        answer = self.session.run([self.output], values)[0]
        output = InferOutput(self.output, list(answer.shape), "FP32")
        output.set_data_from_numpy(answer, binary_data=not REST)
        return InferResponse(payload.id or "", self.name, [output])


if __name__ == "__main__":
    model = OnnxModel(NAME)
    model.load()
    own, other = int(os.environ["PEER_PORT"]), int(os.environ["PEER_OTHER_PORTS"].split(",")[0])
    http, grpc = (own, other) if REST else (other, own)
    ModelServer(http_port=http, grpc_port=grpc, workers=1, enable_docs_url=False).start([model])
