from typing import final

from inferd._core.grpc.call import Call

@final
class StreamedCall(Call):
    def go_on(self) -> None: ...

@final
class Streamed: ...
