from typing import final

from inferd._core.http2.http2_state import Http2State
from inferd._core.http2.send_state import SendState

def live() -> int | None: ...
def nghttp2_version_text() -> str: ...

@final
class Session(SendState):
    def __init__(self, server: Http2State) -> None: ...
