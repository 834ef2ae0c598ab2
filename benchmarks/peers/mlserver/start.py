"""Writes MLServer's two settings files and becomes it."""

import json
import os
import sys
from pathlib import Path

folder, name = Path(os.environ["PEER_FOLDER"]), os.environ["PEER_MODEL"]
http, metrics = map(int, os.environ["PEER_OTHER_PORTS"].split(",")[:2])
settings = {"host": "127.0.0.1", "grpc_port": int(os.environ["PEER_PORT"]), "http_port": http, "metrics_port": metrics}
settings |= {"parallel_workers": 0, "debug": False, "metrics_endpoint": None}
model = {"name": name, "implementation": "runtime.OnnxModel", "parameters": {"version": "1"}}
(folder / "settings.json").write_text(json.dumps(settings))
(folder / "model-settings.json").write_text(json.dumps(model))
program = Path(sys.executable).parent / "mlserver"
os.execv(program, [str(program), "start", str(folder)])
