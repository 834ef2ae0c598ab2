"""Ray Serve over one ONNX model: a deployment behind its gRPC proxy, which speaks whatever service it is given."""

import os
import signal

import numpy as np
import ray
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions
from tritonclient.grpc import service_pb2

DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
DTYPES = {"FP32": np.float32, "INT64": np.int64}


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class OnnxModel:
    def __init__(self):
        from session import NAME, open_session

        self.name, self.session = NAME, open_session()
        self.output = self.session.get_outputs()[0].name

    async def ModelInfer(self, request):  # noqa: N802
        return await self.run(request)

    async def ServerMetadata(self, request):  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="ray serve", version=ray.__version__)

    async def ModelMetadata(self, request):  # noqa: N802
        response = service_pb2.ModelMetadataResponse(name=self.name, versions=["1"])
        for tensors, values in ((response.inputs, self.session.get_inputs()), (response.outputs, self.session.get_outputs())):
            for value in values:
                shape = [size if isinstance(size, int) else -1 for size in value.shape]
                tensors.add(name=value.name, datatype=DATATYPES[value.type], shape=shape)
        return response

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def run(self, requests):
        values = {}
        for at, tensor in enumerate(requests[0].inputs):
            dtype = DTYPES[tensor.datatype]
            parts = [np.frombuffer(one.raw_input_contents[at], dtype).reshape(one.inputs[at].shape) for one in requests]
            values[tensor.name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        answer = self.session.run([self.output], values)[0]
        return [self.response(row) for row in answer[:, None]]

    def response(self, row):
        response = service_pb2.ModelInferResponse(model_name=self.name, model_version="1")
        response.outputs.add(name=self.output, datatype="FP32", shape=row.shape)
        response.raw_output_contents.append(row.tobytes())
        return response


if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(include_dashboard=False, num_cpus=int(os.environ["PEER_CORES"]), log_to_driver=False)
    grpc = gRPCOptions(
        port=int(os.environ["PEER_PORT"]),
        grpc_servicer_functions=["tritonclient.grpc.service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"],
    )
    http = int(os.environ["PEER_OTHER_PORTS"].split(",")[0])  # without HTTP it starts no proxy at all
    serve.start(grpc_options=grpc, http_options=HTTPOptions(host="127.0.0.1", port=http))
    serve.run(OnnxModel.bind(), name="app")
    signal.pause()
