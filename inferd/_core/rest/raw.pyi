from collections.abc import Sequence

from typing_extensions import Buffer

from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.rest.request import RestRequest

def memory_to_read(body: Message, nbytes: int) -> Message:
    """Memory that reading a body takes beside it for a moment, charged to the body's connection while the result lives. Raises
    ResourceExhausted."""

def request_of_tensors(
    tensors: Sequence[tuple[str, str, Sequence[int], Buffer | list[Buffer]]], head: Head, id: bytes = b"", binary_output: bool = False
) -> RestRequest: ...
