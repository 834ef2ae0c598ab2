"""Run by KServe's Python: prints what its REST client sees of a server's model `identity`, as JSON. sys.argv[1]: the server's URL."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

X = np.arange(32, dtype=np.float32).reshape(2, 16) / 3


async def ask(url: str) -> dict:
    said = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        said["live"] = await client.is_server_live(url)
        said["ready"] = await client.is_server_ready(url)
        said["model_ready"] = await client.is_model_ready(url, "identity")
        said["unknown_ready"] = await client.is_model_ready(url, "none")
        for binary in (False, True):
            tensor = InferInput("x", [2, 16], "FP32")
            tensor.set_data_from_numpy(X, binary_data=binary)
            request = InferRequest("identity", [tensor], parameters={"binary_data_output": True} if binary else {})
            response = await client.infer(url, request, model_name="identity")
            said["binary" if binary else "json"] = bool(np.array_equal(response.outputs[0].as_numpy(), X))
        try:
            await client.infer(url, {"inputs": []}, model_name="identity")
        except Exception as error:
            said["error"] = str(error)
    return said


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1]))))
