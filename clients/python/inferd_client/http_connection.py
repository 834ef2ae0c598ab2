"""How servers are reached over HTTP: URLs, TLS, compression, and whether a token may go there."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from inferd_client import security
from inferd_client.http_channel import HttpChannel
from inferd_client.security import TLS
from inferd_client.urls import Url, parse_url

if TYPE_CHECKING:
    from inferd_client.aio_http_channel import AsyncHttpChannel

__all__ = ["HttpConnection"]


@dataclass(frozen=True)
class HttpConnection:
    """context: for the URLs with https."""

    targets: tuple[str, ...]
    urls: tuple[Url, ...]
    context: ssl.SSLContext | None
    server_name: str | None
    compression: str | None
    exposed: str | None
    lacks_credentials: bool = False  # a URL says itself whether TLS is spoken

    @classmethod
    def to(cls, targets: tuple[str, ...], tls: TLS | None, compression: str | None, *, token_in_plaintext: bool) -> Self:
        """Raises as `connection` does."""
        urls = tuple(map(parse_url, targets))
        if tls is not None and (plain := next((url for url in urls if not url.tls), None)):
            raise ValueError(f"tls: {plain} is plain HTTP; write https:// for TLS")
        by_tls = any(url.tls for url in urls)
        return cls(
            targets,
            urls,
            (tls or TLS()).context() if by_tls else None,
            tls.server_name if tls else None,
            compression,
            None if token_in_plaintext else security.exposed([str(url) for url in urls if not url.tls]),
        )

    def __str__(self) -> str:
        return f"{', '.join(self.targets)} ({'TLS' if all(url.tls for url in self.urls) else 'plaintext'})"

    def channel(self, target: str) -> HttpChannel:
        return HttpChannel(self.urls[self.targets.index(target)], self.context, self.server_name, self.compression)

    def for_asyncio(self) -> Callable[[str], AsyncHttpChannel]:
        try:
            from inferd_client.aio_http_channel import AsyncHttpChannel
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"AsyncClient of a URL needs {error.name}: pip install 'inferd-client[http]'", name=error.name
            ) from None

        return lambda target: AsyncHttpChannel(self.urls[self.targets.index(target)], self.context, self.server_name, self.compression)
