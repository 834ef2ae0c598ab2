"""mosec over one ONNX model: the Rust front collects bodies, the worker runs them as a batch."""

import os

from mosec import Server, Worker
from session import Rows

BATCH = int(os.environ["PEER_BATCH"])


class OnnxWorker(Worker):
    req_mime_type = resp_mime_type = "application/octet-stream"

    def __init__(self):
        super().__init__()
        self.rows = Rows()

    def deserialize(self, data):
        return data

    def serialize(self, data):
        return data

    def forward(self, data):
        return self.rows.run(data) if BATCH > 1 else self.rows.run([data])[0]


if __name__ == "__main__":
    server = Server()
    server.append_worker(OnnxWorker, num=1, max_batch_size=BATCH, max_wait_time=1, route="/infer")
    server.run()
