"""`inferd health`: whether a server, or one of its models, takes requests, as an exit code. For probes that run a command."""

from __future__ import annotations

import click

from inferd.cli.asking import Asked
from inferd.cli.duration import timeout_option
from inferd.cli.exit_codes import ExitCode
from inferd.cli.reaching import reaches_by_tls
from inferd.cli.say import say
from inferd.client_inputs.reach import Reach
from inferd.config import Address, is_http, parse_target

CHECK = "/grpc.health.v1.Health/Check"


def address(ctx: click.Context, param: click.Parameter, text: str) -> Address | str:
    """A URL stays a text, which the client package reads."""
    try:
        return text if is_http(text) else parse_target(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("target", metavar="TARGET", callback=address)
@click.argument("service", default="")
@timeout_option("1s", "Longest wait for the response.")
@reaches_by_tls
def health(target: Address | str, service: str, timeout: float, reach: Reach) -> int:
    """Ask a server, or its model SERVICE, whether it takes requests.

    TARGET is host:port, unix:/path or unix:@name for gRPC, or a URL for HTTP: http://host:port or https://host:port. No token is
    needed. For probes: the exit code is the response.

    \b
    inferd health localhost:8001
    inferd health localhost:8001 digits
    inferd health http://localhost:8000
    """
    status = ask(target, service, timeout, reach)
    say(status)
    return ExitCode.OK if status == "SERVING" else ExitCode.FAILED


def ask(target: Address | str, service: str, timeout_s: float, reach: Reach) -> str:
    """The name of the ServingStatus. InferdError where there is none."""
    from inferd.protocol.health import HealthCheckRequest, HealthCheckResponse

    response = Asked("health", target, reach, timeout_s).call(CHECK, HealthCheckRequest(service=service), HealthCheckResponse)
    return str(HealthCheckResponse.ServingStatus.Name(response.status))
