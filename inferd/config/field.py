"""One row of the settings table: its kind, limits and words, and how a value is read from text and written back.

Never in here: which settings there are (settings.py), where values come from (sources.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from inferd.config.model_url import without_secrets
from inferd.config.units import DURATIONS, SIZES, GiB, KiB, MiB, TiB, parse_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "INFERD_"
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def about(
    group: str,
    *,
    ge: int | None = None,
    le: int | None = None,
    words: Mapping[str, int] | None = None,
    items: str | None = None,
    file: bool = False,
    unset: str = "",
    common: bool = False,
) -> msgspec.Meta:
    """One field's row in the table of settings, before its text: help shows the first sentence, and the docs all of it.

    group: its heading in help and docs. ge, le: limits of a number. words: texts that stand for a number. items: what a list holds.
    file: a text is the path of a file. unset: what None stands for, if not for nothing. common: `inferd serve --help` shows it.
    """
    extra = {"group": group, "words": dict(words or {}), "items": items, "file": file, "unset": unset, "common": common}
    return msgspec.Meta(ge=ge, le=le, extra=extra)


class Field(NamedTuple):
    """One row of the table, as flags, variables and docs use it."""

    name: str
    kind: str  # one of: bytes, duration, mode, number, bool, choice, text, file, list
    default: Any
    summary: str  # one sentence of at most 15 words
    details: str  # what else the docs say; may be nothing
    common: bool  # `inferd serve --help` shows it
    group: str
    low: int | None
    high: int | None
    words: dict[str, int]  # words that stand for a number: {"off": -1}
    choices: tuple[str, ...]
    items: str | None  # what a list holds
    unset: str  # what None stands for; nothing: none
    annotation: Any

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def unit(self) -> str:
        return self.name.rpartition("_")[2] if self.kind in ("bytes", "duration") else ""

    @property
    def left_out(self) -> str:
        """The value that holds when the setting is left out."""
        return spell(self, self.default) or self.unset or "none"

    @property
    def expected(self) -> str:
        """The form of a right value, for error messages and docs."""
        no_number = {
            "choice": f"one of {', '.join(self.choices)}",
            "bool": "true or false",
            "list": f"a list of: {self.items}",
            "file": "the path of a file",
            "text": "a text that is not empty",
            "mode": "a file mode of three or four octal digits such as 0660, or umask",
        }
        if self.kind in no_number:
            return no_number[self.kind]
        what = {"bytes": "a size such as 64MiB", "duration": "a duration such as 30s or 100ms", "number": "a whole number"}[self.kind]
        words = "".join(f", or {word}" for word in self.words)
        low = max(self.low or 0, 0)  # below zero there are only words
        step = f", in steps of 1{self.unit}" if self.kind == "duration" else ""
        return f"{what} from {low if low in self.words.values() else spell(self, low)} to {spell(self, self.high)}{step}{words}"


def field_of(name: str, annotation: Any, default: Any) -> Field:
    base, about, text = get_args(annotation)
    summary, _, details = text.partition(". ")
    suffix = name.rpartition("_")[2]
    choices: tuple[str, ...] = ()
    if get_origin(base) is Literal:
        kind, choices = "choice", get_args(base)
    elif get_origin(base) is tuple:
        kind = "list"
    elif base is int:
        sized = suffix in ("bytes", "memory")
        kind = "bytes" if sized else "mode" if suffix == "mode" else "duration" if suffix in DURATIONS else "number"
    else:
        kind = "bool" if base is bool else "file" if about.extra["file"] else "text"
    common, group, words, items, unset = (about.extra[key] for key in ("common", "group", "words", "items", "unset"))
    summary = summary.removesuffix(".") + "."
    return Field(name, kind, default, summary, details, common, group, about.ge, about.le, words, choices, items, unset, annotation)


def parse(field: Field, text: str) -> object:
    """The value that a flag's, variable's or file's text stands for. ValueError when it stands for none."""
    text = text.strip()
    if field.kind == "bool":
        if text.lower() not in _BOOLS:
            raise ValueError(text)
        return _BOOLS[text.lower()]
    if field.kind == "list":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if field.kind in ("text", "file", "choice"):
        return text.lower() if field.kind == "choice" else text
    if text.lower() in field.words:
        return field.words[text.lower()]
    if field.kind == "mode":
        if not re.fullmatch(r"[0-7]{3,4}", text, re.ASCII):
            raise ValueError(text)
        return int(text, 8)
    if field.kind == "number":
        if not re.fullmatch(r"-?[0-9]{1,20}", text, re.ASCII):
            raise ValueError(text)
        return int(text)
    return parse_quantity(text, SIZES if field.kind == "bytes" else DURATIONS, field.unit)


def spell(field: Field, value: object) -> str:
    """A value as one would write it: 67108864 -> 64MiB, 30 -> 30s, -1 -> off; nothing for None.

    `parse` reads it back, with two exceptions. An item of a list may have a comma in it or blanks around it, which only a TOML list can
    say. The secrets of a URL are not shown.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(without_secrets(str(item)) for item in value)
    for word, number in field.words.items():
        if value == number and (number < 0 or word in ("auto", "off")):
            return word
    if isinstance(value, int) and field.kind == "mode":
        return f"{value:04o}"
    if isinstance(value, int) and field.kind == "bytes":
        for unit, size in (("TiB", TiB), ("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
        return str(value)
    return f"{value}{field.unit}" if field.kind == "duration" else without_secrets(str(value))
