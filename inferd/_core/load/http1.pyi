from inferd._core.load.load_protocol import LoadProtocol

class Http1(LoadProtocol):
    """REST over HTTP/1.1, for one Generator, whose bodies are whole requests, from the request line on."""
