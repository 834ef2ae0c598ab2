"""The options of `inferd bench` and `inferd tune` that say what is asked. Never in here: what they mean (bench/inputs.py)."""

from __future__ import annotations

import click

from inferd.cli.number import Whole

REQUESTS = (
    click.option("--input", "files", multiple=True, metavar="[NAME=]FILE.npy", help="One input: .npy, or JSON such as 'x=[[1, 2]]'."),
    click.option("--npz", multiple=True, metavar="FILE", help="Named inputs of one request; several are sent in turn."),
    click.option("--json-input", "json", multiple=True, metavar="FILE", help="The same as JSON, plain or as REST has it."),
    click.option("--image", "images", multiple=True, metavar="[NAME=]FILE", help="A picture, as it lies in the file: a request each."),
    click.option("--audio", "clips", multiple=True, metavar="[NAME=]FILE", help="A sound file, in the same way."),
    click.option("--text", "texts", multiple=True, metavar="[NAME=]TEXT", help="A text, in the same way; @FILE: each line of a file."),
    click.option("--csv-input", "table", metavar="FILE", help="Records from a CSV file with a header: a line a request."),
    click.option("--recorded", metavar="FILE", help="A record of `serve --record`, or framed ModelInferRequests."),
    click.option("--random", is_flag=True, help="Random values for the inputs that files leave out."),
    click.option("--shape", "shapes", multiple=True, metavar="NAME:1,16", help="Shape of a random input whose sizes are open."),
    click.option(
        "--sizes", multiple=True, metavar="NAME:AXIS=DIST", help="Sizes by lot: uniform:16..128, normal:M,SD, lognormal:M,SD, choice:32,64."
    ),
    click.option("--count", type=Whole(1, 100_000), help="Different requests that are made.  [default: 1, with --sizes 64]"),
    click.option("--rows", type=Whole(1, 65_536), help="Rows of each request.  [default: 1]"),
    click.option("--cast", is_flag=True, help="Convert arrays to the model's datatypes."),
    click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Parameter of every request, such as priority=1."),
)
