"""`inferd completion`: the script with which a shell completes commands, flags, values and files. click writes it."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from inferd.cli.verbs import program

VARIABLE = "_INFERD_COMPLETE"  # the script sets it when it asks `inferd` what may come next
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes commands, flags and files in your shell.

    \b
    inferd completion bash > ~/.local/share/bash-completion/completions/inferd
    inferd completion zsh > "${fpath[1]}/_inferd"
    inferd completion fish > ~/.config/fish/completions/inferd.fish
    """
    found = get_completion_class(shell)
    assert found is not None, "click knows the three shells"
    click.echo(found(program, {}, "inferd", VARIABLE).source())
