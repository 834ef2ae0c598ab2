"""Lays out Triton's repository and becomes tritonserver.

TRITONSERVER (the program) and TRITON_BACKENDS (its back ends' folder) name another Triton; where that folder has the onnxruntime back
end, the model runs in it, else in the Python back end by model.py.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import onnxruntime

TYPES = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}
CONFIG = """\
name: "{name}"
{runs}
max_batch_size: 64
dynamic_batching {{ }}
instance_group [ {{ count: {cores}, kind: KIND_CPU }} ]
input [ {inputs} ]
output [ {outputs} ]
"""


def tensors(values):
    dims = [[size if isinstance(size, int) else -1 for size in value.shape[1:]] for value in values]
    return ", ".join(
        f'{{ name: "{value.name}", data_type: {TYPES[value.type]}, dims: {size} }}' for value, size in zip(values, dims, strict=True)
    )


def bundled():
    """The wheel's server and back ends; beside its Python back end belongs the stub for this Python."""
    packages = Path(find_spec("pytriton").submodule_search_locations[0]).parent
    root = packages / "pytriton" / "tritonserver"
    program, stub = root / "bin" / "tritonserver", root / "backends" / "python" / "triton_python_backend_stub"
    if not stub.exists():
        shutil.copy(root / "python_backend_stubs" / f"3.{sys.version_info.minor}" / stub.name, stub)
    for file in (program, stub):
        file.chmod(0o755)
    os.environ["LD_LIBRARY_PATH"] = str(packages / "nvidia_pytriton.libs")
    return program, root / "backends"


def main():
    folder, name = Path(os.environ["PEER_FOLDER"]), os.environ["PEER_MODEL"]
    program, backends = os.environ.get("TRITONSERVER"), os.environ.get("TRITON_BACKENDS", "/opt/tritonserver/backends")
    if not program:
        program, backends = bundled()
    native = (Path(backends) / "onnxruntime").is_dir()
    model = Path(os.environ["PEER_MODELS"]) / name / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    own = folder / "repository" / name
    (own / "1").mkdir(parents=True)
    here = Path(__file__).resolve().parent
    # The back end's Python looks beside model.py, not at PYTHONPATH.
    for file in [model] if native else [here / "model.py", here.parent / "session" / "session.py"]:
        shutil.copy(file, own / "1")
    threads = f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{os.environ["PEER_THREADS"]}" }} }}'
    runs = f'platform: "onnxruntime_onnx"\n{threads}' if native else 'backend: "python"'
    (own / "config.pbtxt").write_text(
        CONFIG.format(
            name=name,
            runs=runs,
            cores=os.environ["PEER_CORES"],
            inputs=tensors(session.get_inputs()),
            outputs=tensors(session.get_outputs()[:1]),
        )
    )
    used, unused = ("grpc", "http") if os.environ["PEER_PROTOCOL"] == "grpc" else ("http", "grpc")
    flags = {
        "model-repository": own.parent,
        "backend-directory": backends,
        f"{used}-address": "127.0.0.1",
        f"{used}-port": os.environ["PEER_PORT"],
    }
    flags |= {f"allow-{unused}": "false", "allow-metrics": "false"}
    os.execv(program, [str(program), *(f"--{flag}={value}" for flag, value in flags.items())])


if __name__ == "__main__":
    main()
