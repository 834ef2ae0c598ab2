"""The verbs of `inferd`, and what `inferd --help` says of them. Never in here: what a verb does, which its own module knows."""

from __future__ import annotations

from importlib import import_module
from typing import cast

import click

from inferd import __version__

__all__ = ["VERBS", "program"]

# verb -> what `inferd --help` says; the verb's own module is inferd/cli/<verb>.py and its command has the verb's name
VERBS = {
    "serve": "Serve ONNX files or a model repository over gRPC.",
    "infer": "Send one request to a server, or run a model file once without any server.",
    "bench": "Measure a model server: closed and open loops, searches, stress; compare reports.",
    "tune": "Find the settings that serve a model best on this machine.",
    "health": "Ask a server whether it takes requests; an exit code for probes.",
    "drain": "Tell a server of this machine to stop, and wait until it has.",
    "features": "Turn a trained scikit-learn pipeline into a model.",
    "doctor": "Show what this machine and installation can do, and what is missing.",
    "config": "Show every setting, its value and where it came from.",
    "demo": "Serve the example models, send real requests, show answers and latency.",
}


class Program(click.Group):
    """A group that knows its verbs' names without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return cast(click.Command, getattr(import_module(f"inferd.cli.{cmd_name}"), cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="inferd")
def program() -> None:
    """The fastest gRPC endpoint your machine can run for the ONNX file you have.

    \b
    inferd serve model.onnx
    inferd infer localhost:8001 model --input image.npy
    """
