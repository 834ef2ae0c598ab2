from collections.abc import Callable
from typing import Any, final

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.request import Request
from inferd._core.codec.infer import InferRequest
from inferd._core.grpc.call import Call, InferHandler, StreamHandler
from inferd._core.inference.inline_policy import InlinePolicy
from inferd._core.inference.routes import Routes
from inferd._core.inference.split import Split
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import RequestError

@final
class ModelInfer(InferHandler):
    def __init__(self, routes: Routes, find: Callable[[str, str], Route]) -> None: ...
    wait: Callable[[Call, InferRequest], bool] | None
    unpack: Callable[[Call], None]
    def __call__(self, call: Call, request: InferRequest | None = None) -> None: ...

@final
class ModelStreamInfer(StreamHandler):
    def __init__(self, model_infer: ModelInfer) -> None: ...

@final
class Route:
    def __init__(
        self,
        model: Any,
        signature: Signature,
        run_queue: Batcher,
        instance: Runner,
        schedule: Callable[[Callable[[], None]], object] | None,
    ) -> None: ...
    model: Any
    @property
    def signature(self) -> Signature: ...
    first_queue: Batcher
    large: Batcher | None
    contents: bytes
    split: Split | None
    rejected: dict[str, int]
    activate: Callable[[], None] | None
    inline: bool
    policy: InlinePolicy | None
    works_alone: bool
    turn_ns: int
    short_nbytes: int
    @property
    def polling(self) -> bool: ...
    def check(self, request: Request) -> None: ...
    def submit(self, request: Request, call: Call) -> None: ...
    def count_rejection(self, error: RequestError) -> None: ...
    def schedule_inline(self) -> None: ...

class Runner:
    def __init__(self, name: str, backend: Any, finish: Callable[[Tensors, Tensors], Tensors] | None = None) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> Any: ...
    @property
    def running(self) -> Batch | None: ...
    @property
    def ended(self) -> bool: ...
    def run_batch(self, batch: Batch) -> None: ...
    def run_failed(self, batch: Batch, error: Exception) -> None: ...
    def end(self) -> None: ...
    def run(self, part: Batch, batch: Batch) -> None: ...
