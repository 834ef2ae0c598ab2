"""How inferd logs: one line a record on stderr, as text for people or as one JSON object.

Modules log under their own name (`logging.getLogger(__name__)`); the name without "inferd." is the area. The contents of a
request are never logged, and what a client chose (a model's name, say) cannot forge a line: control characters are escaped.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JsonLines", "TextLines", "set_up"]

ROOT = "inferd"
# What every record carries by itself; anything else was given as extra={...} and belongs into the line.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


class _Output(logging.StreamHandler[TextIO]):
    """Ours among the root logger's handlers."""


def set_up(level: str = "info", form: str = "text", stream: TextIO | None = None, **extras: object) -> None:
    """Send inferd's records of at least `level`, and other libraries' warnings, to `stream` (stderr) as "text" or "json". extras stand in
    each line: who of several processes wrote it.

    For programs only: it writes to the root logger, so that asyncio's words and Python's warnings come in the same form.
    A second call replaces the first.
    """
    output = _Output(stream if stream is not None else sys.stderr)
    output.setFormatter(JsonLines() if form == "json" else TextLines())
    output.addFilter(partial(_add, extras))
    root = logging.getLogger()
    for former in [handler for handler in root.handlers if isinstance(handler, _Output)]:
        root.removeHandler(former)
    root.addHandler(output)
    logging.getLogger(ROOT).setLevel(level.upper())
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a closed stderr must not end a request


def _add(extras: Mapping[str, object], record: logging.LogRecord) -> bool:
    vars(record).update(extras)
    return True


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO    serving.server  message  key=value`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        message = _message(record).translate(_ESCAPES)
        extras = "".join(f"  {name}={str(value).translate(_ESCAPES)}" for name, value in _extras(record).items())
        line = f"{_time(record)} {record.levelname:<7} {_area(record)}  {message}{extras}"
        if record.exc_info:
            line += "\n" + "\n".join("    " + part.translate(_ESCAPES) for part in self.formatException(record.exc_info).split("\n"))
        return line


class JsonLines(logging.Formatter):
    """One object a line: time, level, area, message, what the caller added, and error (a traceback) if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "area": _area(record),
            "message": _message(record),
        }
        line |= {name: value for name, value in _extras(record).items() if name not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _message(record: logging.LogRecord) -> str:
    """What it says. One whose arguments do not fit would be lost without a word: it is written without them."""
    try:
        return record.getMessage()
    except Exception as error:
        return f"{record.msg!s} ({type(error).__name__}: the line could not be made; its arguments are left out)"


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _area(record: logging.LogRecord) -> str:
    return record.name.removeprefix(ROOT + ".")


def _extras(record: logging.LogRecord) -> Mapping[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}
