"""The rejection of methods that inferd does not serve, on every transport. Never in here: methods that it serves."""

from __future__ import annotations

from inferd.errors import Unimplemented

MAX_NAME_CHARS = 256  # of the method's name that the response repeats

# Methods of the protocol that inferd does not have, and what to use instead.
INSTEAD = {
    f"{memory}SharedMemory{verb}": "send tensors in raw_input_contents"
    for memory in ("System", "Cuda")
    for verb in ("Status", "Register", "Unregister")
}


def unserved(method: str) -> Unimplemented:
    """The rejection of a full method name, such as "/inference.GRPCInferenceService/CudaSharedMemoryStatus"."""
    service, _, name = method.rpartition("/")
    if service == "/inference.GRPCInferenceService" and name in INSTEAD:
        return Unimplemented(f"{name} is not built into this server: {INSTEAD[name]}")
    return Unimplemented(
        f'there is no method "{method[:MAX_NAME_CHARS]}": expected one of inference.GRPCInferenceService, grpc.health.v1.Health '
        f"or grpc.reflection.v1.ServerReflection; the reflection service lists them"
    )
