"""`inferd health`: whether a server, or one of its models, takes requests, as an exit code. For probes that run a command."""

from __future__ import annotations

import click

from inferd.cli.duration import timeout_option
from inferd.cli.reaching import reaches_by_tls
from inferd.cli.say import say
from inferd.client_inputs.reach import Reach, explained
from inferd.config import Address, parse_target
from inferd.errors import InferdError

__all__ = ["health"]

CHECK = "/grpc.health.v1.Health/Check"


def address(ctx: click.Context, param: click.Parameter, text: str) -> Address:
    try:
        return parse_target(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("target", metavar="HOST:PORT", callback=address)
@click.argument("service", default="")
@timeout_option("1s", "Longest wait for the response.")
@reaches_by_tls
def health(target: Address, service: str, timeout: float, reach: Reach) -> int:
    """Ask a server, or its model SERVICE, whether it takes requests.

    The address may be unix:/path or unix:@name, too. No token is needed. For probes: the exit code is 0 for SERVING, and 1 for
    everything else, no response included.

    \b
    inferd health localhost:8001
    inferd health localhost:8001 digits
    """
    status = ask(target, service, timeout, reach)
    say(status)
    return 0 if status == "SERVING" else 1


def ask(target: Address, service: str, timeout_s: float, reach: Reach) -> str:
    """The name of the ServingStatus. InferdError where there is none."""
    try:
        import grpc
    except ImportError:
        raise InferdError("`inferd health` needs grpcio: pip install 'inferd[grpcio]'") from None

    from inferd.client_inputs.targets import require_client
    from inferd.protocol.health import HealthCheckRequest, HealthCheckResponse

    options = [("grpc.enable_http_proxy", 0)]
    if reach.by_tls:
        with explained():
            tls = reach.options(require_client())["tls"]
            opened = grpc.secure_channel(target.for_grpc, tls.credentials(), [*options, *tls.options()])
    else:
        opened = grpc.insecure_channel(target.for_grpc, options)
    with opened as channel:
        check = channel.unary_unary(CHECK, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString)
        try:
            answer = check(HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as error:
            raise InferdError(f"{target}: {error.code().name}: {error.details()}") from None
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))
