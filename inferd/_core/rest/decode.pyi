from typing import overload

from typing_extensions import Buffer

from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.rest.request import RestRequest

@overload
def decode_rest_request(message: Message | Buffer, head: Head) -> RestRequest: ...
@overload
def decode_rest_request(message: Message | Buffer, head: Head, at_once: bool) -> RestRequest | None: ...
