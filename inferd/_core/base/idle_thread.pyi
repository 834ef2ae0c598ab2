from typing import Final, final

from typing_extensions import Buffer

@final
class IdleThread:
    used_s: Final[float]
    def close(self) -> None: ...
    def hurry(self) -> None: ...
    def write(self, descriptor: int, direct: int, nbytes: int, parts: list[Buffer]) -> None: ...
