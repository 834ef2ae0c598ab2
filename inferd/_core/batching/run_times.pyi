from typing import final

@final
class RunTimes:
    def __init__(self) -> None: ...
