"""Files, texts and records that come to RestInfer, and JSON that is too long for the event loop. Never in here: the content of such a body
(raw_body.py)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from inferd._core.rest.decode import decode_rest_request
from inferd._core.rest.raw import memory_to_read, request_of_tensors
from inferd.errors import NoInputs
from inferd.serving.messages.unpacking import Unpacker
from inferd.serving.rest.raw_body import extra_nbytes, raw_inputs, tensors_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from inferd._core.grpc.call import Call
    from inferd._core.grpc.message import Message
    from inferd._core.http.head import Head
    from inferd._core.rest.request import RestRequest
    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository

LONG_NBYTES = 256 << 10  # a thread reads a longer body
LONG_WORK_NBYTES = 64 << 10  # the same for JSON and forms


class RawInfer:
    """Lives on the event loop's thread. go_on(call, request): RestInfer's. reject(call, error): fails a call whose request is wrong.
    bring(name, version): waits until a model that is on demand is in memory; None: all are. again(call, head): RestInfer itself."""

    def __init__(
        self,
        repository: Repository,
        go_on: Callable[[Call, RestRequest], None],
        reject: Callable[[Call, Exception], None],
        bring: Callable[[str, str], Awaitable[None]] | None,
        again: Callable[[Call, Head], None],
    ) -> None:
        self._repository, self._go_on, self._reject, self._bring, self._again = repository, go_on, reject, bring, again

    def unpack(self, call: Call, head: Head) -> None:
        """Unpacks long JSON on a thread: the protocol's, or else a record or base64."""
        unpacker = Unpacker(self._go_on, partial(self._not_the_protocol, head))
        unpacker.take(call, lambda message: decode_rest_request(message, head))

    def take(self, call: Call, head: Head) -> bool:
        """Takes the call if its body is for the model's inputs of bytes; False: it is not. Raises RequestError."""
        name, version = head.model_name.decode(), head.model_version.decode()
        if self._bring is not None and self._repository.is_on_demand(name, version):
            call.work = asyncio.get_running_loop().create_task(self._take_later(call, head, self._bring(name, version)))
            return True
        if head.json_nbytes == 0:  # the bytes of a tensor: RestInfer reads them
            return False
        return self._read(call, head, self._repository.lookup(name, version))

    async def _take_later(self, call: Call, head: Head, brought: Awaitable[None]) -> None:
        try:
            await brought
            call.work = None
            if head.json_nbytes == 0:
                self._again(call, head)
            elif not self._read(call, head, self._repository.lookup(head.model_name.decode(), head.model_version.decode())):
                self._go_on(call, decode_rest_request(call.message, head))
        except Exception as error:
            call.work = None
            self._reject(call, error)

    def _read(self, call: Call, head: Head, model: Model) -> bool:
        nbytes = len(call.message)
        if nbytes > LONG_NBYTES or (nbytes > LONG_WORK_NBYTES and extra_nbytes(head, call.message)):
            Unpacker(self._go_on, self._reject).take(call, lambda message: _request(model, head, message))
            return True
        tensors = tensors_of(model, head, call.message)
        if tensors is None:
            return False
        self._go_on(call, request_of_tensors(tensors, head))
        return True

    def _not_the_protocol(self, head: Head, call: Call, error: Exception) -> None:
        try:
            taken = isinstance(error, NoInputs) and self.take(call, head)
        except Exception as other:
            taken, error = False, other
        if not taken:
            self._reject(call, error)


def _request(model: Model, head: Head, message: Message) -> RestRequest:
    held = memory_to_read(message, extra) if raw_inputs(model) and (extra := extra_nbytes(head, message)) else None
    tensors = tensors_of(model, head, message)
    del held
    return decode_rest_request(message, head) if tensors is None else request_of_tensors(tensors, head)
