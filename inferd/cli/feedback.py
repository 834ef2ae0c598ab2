"""`inferd feedback`: labels that have come, from a file to a server. Never in here: how they join, which file has what (label_file.py)."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.asking import Asked
from inferd.cli.diff import progress
from inferd.cli.duration import timeout_option
from inferd.cli.health import address
from inferd.cli.reaching import TOKEN_FILE, reaches_by_tls
from inferd.cli.say import aligned, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.cli.label_file import Labelled
    from inferd.client_inputs.reach import Reach
    from inferd.config import Address

METHOD = "/inferd.v1.Feedback/Report"
BATCH = 1000  # labels of one message; inferd.feedback.rpc takes no more
NONE = "without a label"
FATES = {
    "joined": "",
    "repeated": "the row has the same label already",
    "contradictory": "the row has another label, which stays",
    "misfit": "the request has no such row, or predicts a number and the label is none",
    "late": "the prediction was deleted, for it was old",
    "waiting": "there is no such prediction yet; unknown in ten minutes if none comes",
    "unknown": "there is no such prediction, and too many labels wait",
}


@click.command()
@click.argument("target", metavar="TARGET", callback=address)
@click.argument("model")
@click.option("--file", "path", type=click.Path(path_type=Path), required=True, help="CSV or Parquet: request_id, label, and maybe row.")
@timeout_option("1m", "Longest wait for one response.")
@TOKEN_FILE
@reaches_by_tls
def feedback(target: Address | str, model: str, path: Path, timeout: float, reach: Reach) -> None:
    """Send labels of requests, by their ids. They join the predictions of a server with --feedback.

    TARGET is host:port for gRPC, or a URL such as http://host:port. FILE has the columns request_id and label, and row where requests have
    several. The same file may be sent again: labels that joined already are repeated, and count once.

    \b
    inferd feedback localhost:8001 digits --file labels.csv
    inferd performance localhost:8001 digits
    """
    from inferd.cli.label_file import labels_of

    labels = labels_of(path)
    first = list(islice(labels, 1))  # a file that is none is said before the server is asked
    asked = Asked("feedback", target, reach, timeout)
    fates: Counter[str] = Counter()
    try:
        with asked.opened() as channel:
            for batch in _batches(chain(first, labels)):
                _send(asked, channel, model, batch, fates)
                if sys.stderr.isatty():
                    progress(f"{fates.total():,} labels")
    finally:  # also of those before an error
        if sys.stderr.isatty():
            progress("")
        _show(fates)


def _show(fates: Counter[str]) -> None:
    """A line for each fate that some have."""
    told = {"labels": "", **FATES, NONE: "these lines were left out"}
    counts = {"labels": fates.total() - fates[NONE], **fates}
    say("\n".join(aligned([(f"{counts[fate]:,}", fate, words) for fate, words in told.items() if counts.get(fate) or fate == "labels"])))


def _batches(labels: Iterator[Labelled]) -> Iterator[list[Labelled]]:
    while batch := list(islice(labels, BATCH)):
        yield batch


def _send(asked: Asked, channel: Any, model: str, labels: list[Labelled], fates: Counter[str]) -> None:
    from inferd.protocol import options

    made = []
    for request_id, row, value in labels:
        if value is None:
            fates[NONE] += 1
        elif isinstance(value, str):
            made.append(options.RequestLabel(request_id=request_id, row=row, text=value))
        else:
            made.append(options.RequestLabel(request_id=request_id, row=row, number=value))
    request = options.ReportLabelsRequest(model_name=model, labels=made)
    told = asked.call(METHOD, request, options.ReportLabelsResponse, channel=channel)
    fates.update({fate: getattr(told, fate) for fate in FATES})
