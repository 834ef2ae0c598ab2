from typing import final

from inferd._core.http.call import HttpCall

@final
class StreamedCall(HttpCall): ...

@final
class Streamed: ...
