"""The flags of commands that ask a server which wants TLS or a token. Never in here: how it is asked (ask.reach)."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from inferd.ask.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TOKEN_FILE", "reaches_by_tls"]

TOKEN_FILE = click.option("--token-file", metavar="FILE", help="File whose first line is the token that the server asks for.")
TLS = (
    click.option("--tls", is_flag=True, help="The server speaks TLS, with a certificate of a public authority."),
    click.option("--tls-ca", metavar="FILE", help="The same, with a certificate of the authority in this PEM file."),
    click.option("--tls-cert", metavar="FILE", help="The client's own certificate, PEM, for servers that ask for one (mTLS)."),
    click.option("--tls-key", metavar="FILE", help="Its key, PEM."),
    click.option("--tls-server-name", metavar="NAME", help="Whom the server's certificate is for, where that is not HOST."),
)


def reaches_by_tls(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the flags; it is called with `reach`."""

    @wraps(command)
    def call(
        tls: bool, tls_ca: str | None, tls_cert: str | None, tls_key: str | None, tls_server_name: str | None,
        token_file: str | None = None, **given: Any,
    ) -> Any:  # fmt: skip
        return command(reach=Reach(tls, tls_ca, tls_cert, tls_key, tls_server_name, token_file), **given)

    decorated: Callable[..., Any] = call
    for option in reversed(TLS):
        decorated = option(decorated)
    return decorated
