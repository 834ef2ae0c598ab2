from typing import Any, final

@final
class Split:
    def __init__(self, candidate: Any, salt: str, share: float) -> None: ...
    share: float
    candidate: Any
