"""Becomes uvicorn."""

import os
import sys

flags = {"host": "127.0.0.1", "port": os.environ["PEER_PORT"], "workers": os.environ["PEER_CORES"]}
flags |= {"loop": "uvloop", "http": "httptools", "log-level": "warning"}
words = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
os.execv(sys.executable, [sys.executable, "-m", "uvicorn", "service:app", "--no-access-log", *words])
