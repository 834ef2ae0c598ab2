from collections.abc import Callable
from typing import Any, Final, final

from inferd._core.batching.batch import Batch
from inferd._core.batching.request import Request
from inferd._core.codec.infer import InferRequest
from inferd._core.grpc.call import Call, InferHandler, StreamHandler
from inferd._core.inference.routes import Routes
from inferd._core.inference.split import Split
from inferd._core.monitor.feature_counts import FeatureCounts
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors

@final
class ModelInfer(InferHandler):
    def __init__(self, routes: Routes, find: Callable[[str, str], Route]) -> None: ...
    wait: Callable[[Call, InferRequest], bool] | None
    unpack: Callable[[Call], None]
    def __call__(self, call: Call, request: InferRequest | None = None) -> None: ...

@final
class ModelStreamInfer(StreamHandler):
    def __init__(self, model_infer: ModelInfer) -> None: ...

class Route:
    def __init__(self, signature: Signature) -> None: ...
    signature: Final[Signature]
    split: Split | None
    def check(self, request: Request) -> None: ...
    def submit(self, request: Request, call: Call) -> None: ...

class Runner:
    def __init__(self, name: str, backend: Any, finish: Callable[[Tensors, Tensors], Tensors] | None = None) -> None: ...
    name: Final[str]
    backend: Final[Any]
    features: FeatureCounts | None
    running: Final[Batch | None]
    ended: Final[bool]
    def run_batch(self, batch: Batch) -> None: ...
    def run_failed(self, batch: Batch, error: Exception) -> None: ...
    def end(self) -> None: ...
    def run(self, part: Batch, batch: Batch) -> None: ...
