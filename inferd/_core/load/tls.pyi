from ssl import MemoryBIO, SSLObject

class Tls:
    """A connection whose handshake is made. session: its ssl.SSLObject, between the ssl.MemoryBIOs incoming and outgoing."""

    def __init__(self, session: SSLObject, incoming: MemoryBIO, outgoing: MemoryBIO) -> None: ...
