from collections.abc import Callable
from ssl import MemoryBIO, SSLObject

class Tls:
    session: SSLObject
    established: bool
    def __init__(self, wrap: Callable[[MemoryBIO, MemoryBIO], SSLObject]) -> None: ...
