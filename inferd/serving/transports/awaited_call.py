"""A call whose response a coroutine awaits: for a transport that another library serves. Never in here: grpc."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inferd._core.grpc.call import NO_DEADLINE, Call
from inferd.errors import RequestError

if TYPE_CHECKING:
    from inferd._core.grpc.message import Message


class AwaitedCall(Call):
    """One call, whose response completes a future."""

    def __init__(self, method: str, message: Message, deadline_ns: int = NO_DEADLINE) -> None:
        super().__init__(method, message, deadline_ns)
        self.outcome: asyncio.Future[Message | bytes | RequestError] = asyncio.get_running_loop().create_future()

    def reply(self, message: Message | bytes) -> None:
        self._complete(message)

    def fail(self, error: RequestError) -> None:
        self._complete(error)

    async def response(self) -> bytes:
        """Waits for the response. Raises the RequestError if the call failed."""
        outcome = await self.outcome
        if isinstance(outcome, RequestError):
            raise outcome
        return bytes(outcome)

    def _complete(self, outcome: Message | bytes | RequestError) -> None:
        # The library cancels the future first, and the call only when its coroutine runs again: hence both questions.
        if self.finish() and not self.outcome.done():
            self.outcome.set_result(outcome)
