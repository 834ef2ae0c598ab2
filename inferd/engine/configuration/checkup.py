"""Says of each field of a model's configuration whether it is obeyed, ignored (and what to use instead) or rejected (and the cure).

A start ends at the first fault of each model; this finds all of them. Never in here: loading, the graph, files that a field names.
"""

from __future__ import annotations

import tomllib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.engine.configuration import model_config
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.configuration.ignored_fields import ignored_fields
from inferd.engine.configuration.text_faults import without_field
from inferd.engine.configuration.toml_faults import toml_faults
from inferd.engine.configuration.unsupported import gpu_faults
from inferd.engine.files.places import all_versions, missing_versions, odd_versions, selected_versions
from inferd.errors import ConfigError, InferdError
from inferd.protocol import inference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.engine.configuration.config_sources import Written
    from inferd.engine.files.places import Place

MAX_FAULTS = 100  # of one file's text
OTHER_KINDS = ("ensemble_scheduling", "platform", "backend")  # a fault of these means that it is not an ONNX model
NO_DEFAULTS = Defaults()


class Finding(NamedTuple):
    """One field of a model. kind: obeyed, ignored, warning or rejected. text: what is wrong and how to mend it. field: '' where the text
    is about the whole model."""

    model: str
    kind: str
    field: str = ""
    text: str = ""


def check_config(place: Place, defaults: Defaults = NO_DEFAULTS) -> list[Finding]:
    """All findings in one model's folder, those that need a change first. defaults: whether a GPU runs models, among others."""
    name = place.name
    try:
        path, where, text = model_config.config_text(place.folder, name)
        written, said = _read(text, where, is_toml=path is not None and path.suffix == ".toml")
    except InferdError as error:
        return [Finding(name, "rejected", "", str(error))]
    found = [Finding(name, "rejected", "", fault.removeprefix(f"{where}: ").removeprefix(where).removeprefix(", ")) for fault in said]
    if written is None:
        return found
    rejected = list(model_config.faults_of(written.config, name, defaults))
    found += [Finding(name, "rejected", field, message) for field, message in rejected]
    if not any(field in OTHER_KINDS for field, _ in rejected):  # else its folders hold no ONNX files
        found += _versions(written, place)
    found += [
        Finding(name, "warning", field, f"{message} (a machine with a GPU rejects this)")
        for field, message in gpu_faults(written.config)
        if (field, message) not in rejected
    ]
    notices = list(ignored_fields(written, defaults))
    found += [Finding(name, "ignored", field, message) for field, message in notices]
    others = [field for field, _ in (*rejected, *notices)]
    obeyed = [field for field in _fields(written.config, "") if not any(field == other or _within(field, other) for other in others)]
    return found + [Finding(name, "obeyed", field) for field in obeyed]


def _read(text: str, where: str, *, is_toml: bool) -> tuple[Written | None, list[str]]:
    """The configuration in a text, None where it cannot be read, and every fault found."""
    said: list[str] = []
    if is_toml:
        try:
            return model_config.parse_toml(text, where), said
        except ConfigError as error:
            with suppress(tomllib.TOMLDecodeError, RecursionError):
                said += toml_faults(tomllib.loads(text), inference.ModelConfig.DESCRIPTOR)
            return None, said or [str(error)]
    while len(said) < MAX_FAULTS:
        try:
            return model_config.parse_text(text, where), said
        except model_config.TextFault as fault:
            said.append(str(fault))
            text = without_field(text, fault.line, fault.column)
            if not text.strip():
                break
        except ConfigError as error:
            said.append(str(error))
            break
    return None, said


def _versions(written: Written, place: Place) -> Iterator[Finding]:
    if place.odd and place.files:  # without files, the error below names the odd folders
        yield Finding(place.name, "ignored", "", odd_versions(place))
    try:
        served = [version for version, _ in selected_versions(written, place)]
    except ConfigError as error:
        yield Finding(place.name, "rejected", "", str(error))
        return
    if missing := missing_versions(written, place):
        yield Finding(place.name, "ignored", "", missing)
    unserved = sorted(set(place.files) - set(served))
    if unserved and not written.config.version_policy.WhichOneof("policy_choice"):
        named = f"version{'s' if len(unserved) > 1 else ''} {', '.join(map(str, unserved))}"
        text = f"not served, for {served[-1]} is the newest: {all_versions(place)} serves all"
        yield Finding(place.name, "ignored", named, text)


def _fields(message: Any, prefix: str) -> Iterator[str]:
    """The fields that are set, as people name them; for a list, with its length."""
    for field, value in message.ListFields():
        name = f"{prefix}{field.name}"
        if field.message_type is None:
            yield name
        elif field.message_type.GetOptions().map_entry:
            yield from (f"{name}[{key!r}]" for key in sorted(value))
        elif hasattr(value, "ListFields"):
            inner = list(_fields(value, f"{name}."))
            yield from inner or [name]
        else:
            yield f"{name} ({len(value)})" if len(value) > 1 else name


def _within(field: str, other: str) -> bool:
    return field.startswith((f"{other}.", f"{other} (", f"{other}["))
