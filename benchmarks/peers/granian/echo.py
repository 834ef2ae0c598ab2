"""The least that Granian can do with a request that has a body: RSGI, and the body comes back."""

HEADERS = [("content-type", "application/json")]


async def app(scope, protocol):
    protocol.response_bytes(200, HEADERS, await protocol())
