"""A thin client of the Open Inference Protocol over gRPC or HTTP: numpy in, numpy out. For inferd, Triton and KServe servers.

    from inferd_client import Client

    with Client("localhost:8001") as client:
        result = client.infer("digits", {"image": image}, timeout=1.0)
        print(result["probabilities"], result.model_version)

Models that make their own tensors take files(...), texts(...), records(...), csv_records(...) and arrow_records(...).

TLS says how a connection is encrypted, Retry when a call that failed is sent again.

AsyncClient has the same calls, awaited. Both raise InferenceError. The protobuf messages that some calls return
are in inferd_client.messages.
"""

from inferd_client.aio import AsyncClient
from inferd_client.client import Client
from inferd_client.codec import InferResult
from inferd_client.errors import InferenceError
from inferd_client.raw import arrow_records, csv_records, files, records, texts
from inferd_client.retry import Retry
from inferd_client.security import TLS

try:
    from inferd_client._version import __version__  # a build writes it, from the newest tag
except ImportError:  # a tree that was never built
    __version__ = "0+unknown"

__all__ = [
    "TLS",
    "AsyncClient",
    "Client",
    "InferResult",
    "InferenceError",
    "Retry",
    "__version__",
    "arrow_records",
    "csv_records",
    "files",
    "records",
    "texts",
]
