"""The flags of commands that ask a server which wants TLS or a token. Never in here: how it is asked (ask.reach)."""

from __future__ import annotations

from functools import reduce, wraps
from typing import TYPE_CHECKING, Any

import click

from inferd.client_inputs.reach import Reach
from inferd.watched_files import require_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TOKEN_FILE = click.option("--token-file", metavar="FILE", help="File with the token that the server asks for, in its first line.")
TLS = (
    click.option("--tls", is_flag=True, help="Use TLS; the server has a certificate of a public authority."),
    click.option("--tls-ca", metavar="FILE", help="Use TLS; PEM file of the authority that signed the server's certificate."),
    click.option("--tls-cert", metavar="FILE", help="PEM file of the client's certificate, where the server asks for one (mTLS)."),
    click.option("--tls-key", metavar="FILE", help="PEM file of that certificate's key."),
    click.option("--tls-server-name", metavar="NAME", help="Name in the server's certificate, if it is not HOST."),
)
FLAGS = ("tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name", "token_file")


def reach_of(given: Mapping[str, Any]) -> Reach:
    """The Reach that the flags describe. Not every command has --token-file."""
    tls, ca, certificate, key, server_name = (given[name] for name in FLAGS[:-1])
    if key is not None:
        require_secret(key, "--tls-key")
    return Reach(tls, ca, certificate, key, server_name, given.get("token_file"))


def reaches_by_tls(command: Callable[..., Any]) -> Any:
    """Gives a command the flags; it is called with `reach`."""

    @wraps(command)
    def call(**given: Any) -> Any:
        return command(reach=reach_of(given), **{name: value for name, value in given.items() if name not in FLAGS})

    return with_options(*TLS)(call)


def with_options(*options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Any]:
    """Gives a command these options, which --help shows in this order."""
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)
