"""Writes MLServer's two settings files and becomes it."""

import json
import os
import sys
from pathlib import Path

folder, name = Path(os.environ["PEER_FOLDER"]), os.environ["PEER_MODEL"]
own, (other, metrics) = int(os.environ["PEER_PORT"]), map(int, os.environ["PEER_OTHER_PORTS"].split(",")[:2])
http, grpc = (own, other) if os.environ["PEER_PROTOCOL"] == "v2-json" else (other, own)
settings = {"host": "127.0.0.1", "grpc_port": grpc, "http_port": http, "metrics_port": metrics}
settings |= {"parallel_workers": 0, "debug": False, "metrics_endpoint": None}
model = {"name": name, "implementation": "runtime.OnnxModel", "parameters": {"version": "1"}}
(folder / "settings.json").write_text(json.dumps(settings))
(folder / "model-settings.json").write_text(json.dumps(model))
program = Path(sys.executable).parent / "mlserver"
os.execv(program, [str(program), "start", str(folder)])
