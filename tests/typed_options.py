"""A misspelt option is a type error: mypy reads this file (`make types`), and reports a line whose error it does not find. Never run."""

from inferd_client import AsyncClient, Client

from inferd import Engine

Engine("models", max_batch_size=8, batching="off", providers=["cpu"])
Engine("models", max_bach_size=8)  # type: ignore[call-arg]
Engine("models", batching="of")  # type: ignore[arg-type]
Engine("models").infer("m", {"x": [1]}, time_out=1.0)  # type: ignore[call-arg]
Client("localhost", timeout=1.0, balance="least_in_flight")
Client("localhost", time_out=1.0)  # type: ignore[call-arg]
Client("localhost", balance="least").infer("m", {"x": [1]}, versoin="1")  # type: ignore[arg-type, call-arg]
AsyncClient("localhost", hedge=0.1)  # type: ignore[call-arg]
