from collections.abc import Sequence

from typing_extensions import Buffer

from inferd._core.http.head import Head
from inferd._core.rest.request import RestRequest

def request_of_tensors(
    tensors: Sequence[tuple[str, str, Sequence[int], Buffer]], head: Head, id: bytes = b"", binary_output: bool = False
) -> RestRequest: ...
