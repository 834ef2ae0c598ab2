"""`inferd models`: which models a server has, and changes of them while it serves. Never in here: what the server makes of an order."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.asking import Asked, tried, waited
from inferd.cli.duration import timeout_option
from inferd.cli.health import address
from inferd.cli.reaching import TOKEN_FILE, reaches_by_tls
from inferd.cli.say import one_line, say
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.client_inputs.reach import Reach
    from inferd.config import Address

CHECK = "check."  # begins the name of a property that says what a check found
INFERENCE, CONTROL = "/inference.GRPCInferenceService", "/inferd.v1.ModelControl"
LOOK_S = 1.0  # between two looks at how a load goes on


def _tell(asked: Asked, name: str, channel: Any, future: Any) -> None:
    """Tells each state of a model on stderr, while it is loaded or unloaded."""
    from inferd.protocol.inference import RepositoryIndexRequest, RepositoryIndexResponse

    looking = replace(asked, timeout_s=LOOK_S)
    look = partial(looking.call, f"{INFERENCE}/RepositoryIndex", RepositoryIndexRequest(), RepositoryIndexResponse, channel=channel)
    told, began_s = "", time.monotonic()
    while not (over := waited(future, LOOK_S)) or told:
        found = [each for each in getattr(tried(look), "models", ()) if each.name == name and each.version]
        states = ", ".join(f"version {each.version} {each.state}" for each in found)
        if states and (over or states != told or sys.stderr.isatty()):
            say(f"{name}: {states}, {time.monotonic() - began_s:.0f} s", err=True)
        if over:
            return
        told = states


def _checks(asked: Asked, versions: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The results of checks of each of these models and versions."""
    from inferd.protocol.inference import ModelMetadataRequest, ModelMetadataResponse

    told = {}
    with asked.opened() as channel:
        for name, version in versions:
            request = ModelMetadataRequest(name=name, version=version, properties=True)
            found = asked.call(f"{INFERENCE}/ModelMetadata", request, ModelMetadataResponse, channel=channel).properties
            checks = [f"{key.removeprefix(CHECK)}={found[key]}" for key in sorted(found) if key.startswith(CHECK)]
            told[name, version] = "  ".join(checks)
    return told


def _target(ctx: click.Context, param: click.Parameter, text: str) -> Address | str:
    if text in models.commands:
        raise click.UsageError(f"TARGET comes before {text}: inferd models localhost:8001 {text}")
    return address(ctx, param, text)


@click.group(subcommand_metavar="ACTION ...")
@click.argument("target", metavar="TARGET", callback=_target)
@timeout_option("10m", "Longest wait for the response.")
@TOKEN_FILE
@reaches_by_tls
@click.pass_context
def models(ctx: click.Context, /, target: Address | str, timeout: float, reach: Reach) -> None:
    """List a server's models, and change them while it serves.

    TARGET is host:port for gRPC, or a URL such as http://host:port. The actions load and unload need a server with --model-control
    explicit. label and rollback need gRPC, and a server with poll or explicit.

    \b
    inferd models localhost:8001 list --checks
    inferd models localhost:8001 load digits
    inferd models localhost:8001 label digits stable 2
    inferd models localhost:8001 rollback digits stable
    """
    ctx.obj = Asked("models", target, reach, timeout)


@models.command("list")
@click.option("--ready", is_flag=True, help="Only versions that take requests.")
@click.option("--checks", is_flag=True, help="Results of the checks of each version at load.")
@click.pass_obj
def list_models(asked: Asked, ready: bool, checks: bool) -> None:
    """List each version with its state, and why it is in it."""
    from inferd.protocol import inference

    request = inference.RepositoryIndexRequest(ready=ready)
    found = asked.call(f"{INFERENCE}/RepositoryIndex", request, inference.RepositoryIndexResponse).models
    told = _checks(asked, [(each.name, each.version) for each in found if each.state == "READY"]) if checks else {}
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        said = "  ".join(filter(None, (told.get((each.name, each.version)), each.reason)))
        say(one_line(f"{each.name:{width}}  {each.version or '-':>4}  {each.state:11}  {said}"))


@models.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="This version beside those that are served.")
@click.option("--config", "config_file", metavar="FILE", help="A model configuration as JSON, instead of the one in the repository.")
@click.pass_obj
def load(asked: Asked, name: str, version: int | None, config_file: str | None) -> None:
    """Load a model, or take its files as they are now. The old version serves until the new one is warm."""
    from inferd.protocol import inference

    request = inference.RepositoryModelLoadRequest(model_name=name)
    if version is not None:
        request.parameters["version"].int64_param = version
    if config_file is not None:
        try:
            request.parameters["config"].string_param = Path(config_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--config {config_file}: expected a text file that can be read: {error}") from None
    asked.call(f"{INFERENCE}/RepositoryModelLoad", request, inference.RepositoryModelLoadResponse, meanwhile=partial(_tell, asked, name))
    say(f"{name}: loaded")


@models.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="This version alone.")
@click.pass_obj
def unload(asked: Asked, name: str, version: int | None) -> None:
    """Unload a model, once the requests that it has are done."""
    from inferd.protocol import inference

    request = inference.RepositoryModelUnloadRequest(model_name=name)
    if version is not None:
        request.parameters["version"].int64_param = version
    asked.call(
        f"{INFERENCE}/RepositoryModelUnload", request, inference.RepositoryModelUnloadResponse, meanwhile=partial(_tell, asked, name)
    )
    say(f"{name}: unloaded")


@models.command()
@click.argument("name")
@click.argument("label")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--remove", is_flag=True, help="Remove the label.")
@click.pass_obj
def label(asked: Asked, name: str, label: str, version: int | None, remove: bool) -> None:
    """Move LABEL to VERSION of a model. Clients send the label as model_version."""
    from inferd.protocol import options

    if remove == (version is not None):
        raise click.UsageError("expected VERSION, or --remove")
    if version is None:
        asked.call(f"{CONTROL}/RemoveLabel", options.RemoveLabelRequest(model_name=name, label=label), options.RemoveLabelResponse)
        say(f"{name}: label {label} is removed")
        return
    request = options.SetLabelRequest(model_name=name, label=label, version=version)
    asked.call(f"{CONTROL}/SetLabel", request, options.SetLabelResponse, meanwhile=partial(_tell, asked, name))
    say(f"{name}: label {label} names version {version}")


@models.command()
@click.argument("name")
@click.argument("label")
@click.pass_obj
def rollback(asked: Asked, name: str, label: str) -> None:
    """Move LABEL back to the version that it named before."""
    from inferd.protocol import options

    request = options.RollbackRequest(model_name=name, label=label)
    response = asked.call(f"{CONTROL}/Rollback", request, options.RollbackResponse, meanwhile=partial(_tell, asked, name))
    say(f"{name}: label {label} names version {response.version}")
