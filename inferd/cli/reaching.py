"""The flags of commands that ask a server which wants TLS or a token. Never in here: how it is asked (ask.reach)."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from inferd.client_inputs.reach import Reach
from inferd.watched_files import require_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FLAGS", "TLS", "TOKEN_FILE", "reach_of", "reaches_by_tls"]

TOKEN_FILE = click.option("--token-file", metavar="FILE", help="File whose first line is the token that the server asks for.")
TLS = (
    click.option("--tls", is_flag=True, help="The server speaks TLS, with a certificate of a public authority."),
    click.option("--tls-ca", metavar="FILE", help="The same, with a certificate of the authority in this PEM file."),
    click.option("--tls-cert", metavar="FILE", help="The client's own certificate, PEM, for servers that ask for one (mTLS)."),
    click.option("--tls-key", metavar="FILE", help="Its key, PEM."),
    click.option("--tls-server-name", metavar="NAME", help="Whom the server's certificate is for, where that is not HOST."),
)
FLAGS = ("tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name", "token_file")


def reach_of(given: Mapping[str, Any]) -> Reach:
    """What the flags say. --token-file is not every command's."""
    tls, ca, certificate, key, server_name = (given[name] for name in FLAGS[:-1])
    if key is not None:
        require_secret(key, "--tls-key")
    return Reach(tls, ca, certificate, key, server_name, given.get("token_file"))


def reaches_by_tls(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the flags; it is called with `reach`."""

    @wraps(command)
    def call(**given: Any) -> Any:
        return command(reach=reach_of(given), **{name: value for name, value in given.items() if name not in FLAGS})

    decorated: Callable[..., Any] = call
    for option in reversed(TLS):
        decorated = option(decorated)
    return decorated
