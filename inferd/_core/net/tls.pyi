from collections.abc import Callable
from ssl import MemoryBIO, SSLObject

class Tls:
    ssl_object: SSLObject
    established: bool
    def __init__(self, wrap: Callable[[MemoryBIO, MemoryBIO], SSLObject]) -> None: ...
