"""`inferd check`: everything in a model repository, and in the settings, that keeps a model from being served or has no effect.

A server says one fault of each model when it starts; this lists all of them.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Self

import click

from inferd.cli.exit_codes import ExitCode
from inferd.cli.named_files import missing_files
from inferd.cli.options import SettingsCommand, takes_settings
from inferd.cli.say import printable
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from inferd.config import Settings
    from inferd.engine.configuration.checkup import Finding
    from inferd.engine.files.places import Place

COLOURS = {"rejected": "red", "warning": "yellow", "ignored": "yellow", "obeyed": "green"}
MAX_WIDTH = 120


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of findings.")
@click.option("--no-load", is_flag=True, help="Check configurations and files only; load no model.")
@takes_settings
def check(settings: Settings, origins: dict[str, str], as_json: bool, no_load: bool) -> int:
    """List everything in a model repository that needs a change.

    Each field of each configuration is obeyed, ignored, or rejected with its cure. Models whose configuration is right are loaded,
    so that faults of their graphs and steps show, too.

    \b
    inferd check models
    inferd check models --no-load
    """
    if not settings.models:
        raise ConfigError("models: expected a PATH to an ONNX file or a model repository, got none; try `inferd check models`")
    findings = _findings(settings, origins, loads=not no_load)
    if not as_json:
        return ExitCode.FAILED if _show(findings) else ExitCode.OK
    listed = list(findings)
    click.echo(json.dumps([finding._asdict() for finding in listed], indent=2))
    return ExitCode.FAILED if any(finding.kind == "rejected" for finding in listed) else ExitCode.OK


def _findings(settings: Settings, origins: dict[str, str], *, loads: bool) -> Iterator[Finding]:
    """Those of the settings, which have no model, then those of the models by name."""
    from inferd.engine.configuration.checkup import Finding, check_config
    from inferd.engine.configuration.config_sources import Defaults
    from inferd.engine.files.places import Failure, find_places
    from inferd.engine.remote import local_paths

    for setting, why in missing_files(settings, origins):
        yield Finding("", "rejected", f"{setting}:", why)
    there: list[Path] = []
    try:
        there = [path for path in local_paths(settings) if path.exists()]
    except InferdError as error:
        yield Finding("", "rejected", f"models ({origins['models']}):", str(error).removeprefix("models: "))
    places, failures = find_places(there) if there else ([], [])
    found: list[Place | Failure] = [*places, *failures]
    for place in sorted(found, key=lambda place: place.name):
        if isinstance(place, Failure):
            yield Finding(place.name, "rejected", "", str(place.error))
            continue
        findings = check_config(place, Defaults.of(settings))
        if loads and not any(finding.kind == "rejected" for finding in findings):
            findings[:0] = _loaded(settings, place)
        yield from findings or [Finding(place.name, "obeyed")]


def _loaded(settings: Settings, place: Place) -> list[Finding]:
    """Findings of loading a model: why it cannot be served, and warnings of its log."""
    from inferd.engine.configuration.checkup import Finding
    from inferd.engine.models.repository import Repository
    from inferd.serving.memory.budget import settled

    # As if on a loop: warm-up decides where a model runs; nothing is ever submitted here.
    repository = Repository(settled(settings), schedule=lambda callback: None, deliver=lambda batch: batch.deliver())
    with _Warnings() as warnings:
        try:
            repository.load_places([place])
        except InferdError as error:
            said = re.sub(rf"^(config\.\w+ of )?model {re.escape(repr(place.name))}:? ", "", str(error))
            return [Finding(place.name, "rejected", "", said)]
        finally:
            repository.close()
    return [Finding(place.name, "warning", "", text) for text in warnings.texts if "has no effect" not in text]


class _Warnings(logging.Handler):
    """Keeps what is logged within the block, from warnings on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def __enter__(self) -> Self:
        logging.getLogger("inferd").addHandler(self)
        return self

    def __exit__(self, *raised: object) -> None:
        logging.getLogger("inferd").removeHandler(self)


def _show(findings: Iterable[Finding]) -> bool:
    """Each model as soon as it is checked. True: something is rejected."""
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    rejected = served = settings = 0
    for name, grouped in groupby(findings, key=lambda finding: finding.model):
        members = list(grouped)
        bad = any(finding.kind == "rejected" for finding in members)
        if name:
            rejected, served = rejected + bad, served + (not bad)
        else:
            settings = bad
        mark = click.style("rejected" if bad else "ok", fg="red" if bad else "green")
        click.echo(f"{click.style(printable(name or 'settings'), bold=True)}  {mark}")
        for finding in members:
            if finding.kind != "obeyed":
                _line(finding.kind, f"{finding.field} {finding.text}".strip(), width)
        if obeyed := [finding.field for finding in members if finding.kind == "obeyed" and finding.field]:
            _line("obeyed", ", ".join(obeyed), width)
        click.echo()
    can = f"{served} model{'s' if served != 1 else ''} can be served"
    click.echo(f"{can}, {rejected} cannot." if rejected else f"{can}.")
    return bool(rejected or settings)


def _line(kind: str, text: str, width: int) -> None:
    """A finding, wrapped beside its kind."""
    lines = textwrap.wrap(printable(" ".join(text.split())), max(width - 12, 40), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        click.echo(f"  {click.style(f'{kind:<8}', fg=COLOURS[kind]) if number == 0 else ' ' * 8}  {line}")
