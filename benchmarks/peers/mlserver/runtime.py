"""MLServer's runtime for one ONNX model."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from session import open_session


class OnnxModel(MLModel):
    async def load(self):
        self.session = open_session()
        self.output = self.session.get_outputs()[0].name
        return True

    async def predict(self, payload):
        values = {value.name: NumpyCodec.decode_input(value) for value in payload.inputs}
        answer = self.session.run([self.output], values)[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(self.output, answer)])
