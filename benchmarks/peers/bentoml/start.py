"""Becomes `bentoml serve`."""

import os
import sys
from pathlib import Path

folder = os.environ["PEER_FOLDER"]
os.environ |= {"BENTOML_HOME": f"{folder}/bentoml", "BENTOML_DO_NOT_TRACK": "true"}
program = Path(sys.executable).parent / "bentoml"
words = [
    "serve",
    "service:Onnx",
    "--working-dir",
    str(Path(__file__).resolve().parent),
    "--host",
    "127.0.0.1",
    "--port",
    os.environ["PEER_PORT"],
]
os.execv(program, [str(program), *words])
