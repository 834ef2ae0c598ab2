"""`inferd protos`: the .proto files from which other languages generate a client. They come with the package."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import click

from inferd.cli.say import say


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def protos(folder: Path) -> None:
    """Write the .proto files of the protocol to FOLDER, for clients in other languages.

    \b
    inferd protos proto
    protoc -I proto --go_out=. --go-grpc_out=. $(cd proto && find . -name '*.proto')
    """
    with resources.as_file(resources.files("inferd.protocol") / "proto") as source:
        try:
            shutil.copytree(source, folder, copy_function=_copy, dirs_exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"FOLDER {folder}: cannot be written: {error.strerror or error}") from None


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    say(target)
