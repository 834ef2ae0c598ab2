"""How inferd logs: one line a record on stderr, as text for people or as one JSON object.

Modules log under their own name (`logging.getLogger(__name__)`); the name without "inferd." is the area. A client cannot forge a line, by a
model's name for example: control characters are escaped.

The thread that logs makes the line, since a record's arguments and traceback keep a request's memory alive. Another thread writes it:
a reader of stderr that stops blocks nobody. The queue between them has a limit (MAX_QUEUED_BYTES). A line that finds no room is dropped,
counted (`dropped`) and reported when there is room again. A traceback that repeats, or a line that is LIMITED, is written a few times,
then once a minute.

Never in here: values of a request. The text of an exception may hold some, so only the exceptions in _TELLING are written with it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from select import select
from traceback import format_tb
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from inferd.errors import InferdError, RequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping

ROOT = "inferd"
MAX_QUEUED_BYTES = 1 << 20  # of lines that stderr has not taken yet
LINE_BYTES = 128  # what a line takes in the queue beside its text
MAX_TEXT = 8192  # characters of a message, of a value beside it, or of a traceback; longer ones lose their middle
FLUSH_S = 1.0  # how long a process that ends waits for stderr to take what is queued
BURST = 5  # lines of one kind that are written at once
REPEAT_S = 60.0  # then one in so many seconds
MAX_KINDS = 256  # of lines that are remembered
TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?\Z", re.DOTALL)
MAX_CAUSES = 8  # of an exception that was raised from another

# Exceptions whose text names code, files or what the system says. Any other may quote what a client sent, a RequestError too.
_TELLING = (InferdError, OSError, AttributeError, NameError, ImportError, AssertionError, NotImplementedError, RecursionError, MemoryError)
# Attributes that every record has; any other was given as extra={...} and belongs into the line.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "limited", "fields"}
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}

LIMITED = {"limited": True}  # extra= of a line without a traceback that clients can bring about at any rate: RepeatLimit holds for it

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)

log = logging.getLogger(__name__)


class Unbuffered(Protocol):
    """A file that lines are written to: io.FileIO, say."""

    def write(self, content: memoryview, /) -> int | None: ...
    def fileno(self) -> int: ...


def event(name: str, **fields: object) -> dict[str, object]:
    """extra= of a line that programs look for: as JSON it has the event's name and the fields. A person reads the same in the message."""
    return {"fields": {"event": name, **fields}}


def trace_id(traceparent: bytes | None) -> str | None:
    """The trace that a request belongs to, by the client's header (W3C Trace Context). None: it has none, or a malformed one."""
    found = TRACEPARENT.match(traceparent or b"")
    return found[1].decode() if found is not None else None


def set_up(level: str = "info", form: str = "text", stream: Unbuffered | None = None, **extras: object) -> None:
    """Send inferd's records of at least `level`, and other libraries' warnings, to `stream` as "text" or "json". extras stand in each
    line: the number of one of several processes, say. stream: None is stderr; else an unbuffered one.

    For programs only. It writes to the root logger, so that asyncio's words and Python's warnings come in the same form. It takes
    over sys.stderr and the hooks for exceptions that nobody handles, which would write to stderr themselves. A second call replaces
    the first.
    """
    root = logging.getLogger()
    for former in _outputs():
        root.removeHandler(former)
        former.close()
    output = _Output(stream)
    output.addFilter(partial(_add, extras))
    root.addHandler(output)
    change(level, form)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a closed stderr must not end a request
    if stream is None:
        sys.stderr = _Stderr(output)
        sys.unraisablehook = _unraisable
        threading.excepthook = _thread_ended


def change(level: str, form: str) -> None:
    """Another level and another form from now on."""
    for output in _outputs():
        output.setFormatter(JsonLines() if form == "json" else TerminalLines() if output.is_terminal else TextLines())
        output.left_out = frozenset()
    logging.getLogger(ROOT).setLevel(level.upper())


def shown_levels() -> set[int]:
    """The levels, from debug to error, whose lines are written."""
    least = logging.getLogger(ROOT).getEffectiveLevel()
    return {level for level in _LEVELS if level >= least and not any(level in output.left_out for output in _outputs())}


def show_levels(levels: Collection[int]) -> None:
    """Only the lines of these levels are written from now on, and critical ones, until `change` is called."""
    logging.getLogger(ROOT).setLevel(min(levels, default=logging.CRITICAL))
    for output in _outputs():
        output.left_out = frozenset(_LEVELS).difference(levels)


def dropped() -> int:
    """Lines that this process has dropped: the queue was full, or stderr could not be written."""
    return sum(output.dropped + output.failed for output in _outputs())


def loop_failed(loop: object, context: Mapping[str, Any]) -> None:
    """An event loop's exception handler. asyncio's own writes the repr of a callback's arguments and of results, which may hold values."""
    message, _, _ = str(context.get("message", "a callback failed")).partition("(")
    logging.getLogger("asyncio").error("%s", message, exc_info=context.get("exception"))


def _unraisable(failed: sys.UnraisableHookArgs) -> None:
    where = getattr(failed.object, "__qualname__", type(failed.object).__name__)
    log.error("an exception was ignored in %s", where, exc_info=failed.exc_value)


def _thread_ended(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is not SystemExit:
        log.error("thread %s ended", failed.thread.name if failed.thread else "?", exc_info=failed.exc_value)


# ---------------------------------------------------------------------------------------------------------------------
# The queue


class _Line(NamedTuple):
    content: bytes
    dropped: int  # lines, before this one and since the start


class _Output(QueueHandler):
    """Ours among the root logger's handlers. The handler's lock covers everything but the writer."""

    queue: SimpleQueue[Any]  # put() may be interrupted by itself: a collected object may log

    def __init__(self, stream: Unbuffered | None) -> None:
        super().__init__(SimpleQueue())
        self.stream = stream
        self.is_terminal = stream is None and os.isatty(2)
        self.left_out: frozenset[int] = frozenset()  # levels
        self.begin()

    def begin(self) -> None:
        """With an empty queue and a thread of its own: at first, and in a child process, which has no threads."""
        self.dropped = 0
        self.failed = 0  # lines that the stream did not take; the writer counts
        self.taken_bytes = 0  # out of the queue, since the start; the writer counts
        self._put_bytes = 0  # the same, into the queue
        self._gave_up = False  # stderr was not read in FLUSH_S, or this is closed: nothing is waited for any more
        self._repeats = RepeatLimit()
        self.queue = SimpleQueue()
        # Not sys.stderr: a thread that waits in it would hold the lock that the interpreter takes at its end.
        stream = self.stream if self.stream is not None else open(2, "wb", buffering=0, closefd=False)  # noqa: SIM115
        _Writer(self, stream).start()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno in self.left_out:
            return
        error = record.exc_info[1] if record.exc_info else None
        if error is not None or "limited" in vars(record):
            left_out = self._repeats.admit(_kind(record, error), time.monotonic())
            if left_out is None:
                return
            if left_out:
                record.more_like_this = left_out
        super().emit(record)

    def prepare(self, record: logging.LogRecord) -> bytes:
        return _encoded(self.format(record) + "\n")

    def enqueue(self, content: bytes) -> None:  # type: ignore[override]  # a record, as prepare() made it
        nbytes = len(content) + LINE_BYTES
        if self._put_bytes + nbytes - self.taken_bytes > MAX_QUEUED_BYTES:
            self.dropped += 1
            return
        self._put_bytes += nbytes
        self.queue.put_nowait(_Line(content, self.dropped))

    def write(self, text: str) -> None:
        """Takes text that Python, or another library, writes to stderr."""
        self.acquire()
        try:
            self.enqueue(_encoded(text))
        finally:
            self.release()

    def report(self, lines: int) -> bytes:
        """A line of so many lost ones."""
        record = log.makeRecord(log.name, logging.WARNING, "", 0, "%d lines were dropped: stderr was not read fast enough", (lines,), None)
        self.filter(record)
        return _encoded(self.format(record) + "\n")

    def flush(self) -> None:
        """Waits until everything is written, FLUSH_S at most. `logging.shutdown` calls it."""
        if not self._gave_up:
            self.queue.put_nowait(written := threading.Event())
            self._gave_up = not written.wait(FLUSH_S)

    def close(self) -> None:
        if left_out := self._repeats.left_out:
            log.warning("%d tracebacks or warnings were left out that repeat others", left_out)
        self.flush()
        self._gave_up = True
        self.queue.put_nowait(None)  # the writer's last
        super().close()


class _Writer(QueueListener):
    """The thread that writes. The only one that waits for the reader of stderr."""

    def __init__(self, output: _Output, stream: Unbuffered) -> None:
        super().__init__(output.queue)
        self._output = output
        self._stream = stream
        self._reported = 0  # dropped lines

    def handle(self, item: _Line | threading.Event) -> None:  # type: ignore[override]
        output = self._output
        if isinstance(item, _Line):
            self._report(item.dropped)
            output.failed += not self._write(item.content)
            output.taken_bytes += len(item.content) + LINE_BYTES
        if output.queue.empty() or not isinstance(item, _Line):
            self._report(output.dropped)
        if not isinstance(item, _Line):
            item.set()

    def _report(self, dropped: int) -> None:
        lost = dropped + self._output.failed - self._reported
        if lost > 0 and self._write(self._output.report(lost)):
            self._reported += lost

    def _write(self, content: bytes) -> bool:
        """False where the stream does not take it: nobody is left to read, or the disk is full."""
        left = memoryview(content)
        try:
            while left:
                written = self._stream.write(left)
                if written is None:  # somebody made it non-blocking
                    select([], [self._stream], [])
                left = left[written or 0 :]
        except (OSError, ValueError):
            return False
        return True


class _Stderr(io.TextIOBase):
    """sys.stderr of a program that logs: what is written there waits in the same queue."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, output: _Output) -> None:
        self._output = output

    def write(self, text: str) -> int:
        self._output.write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def isatty(self) -> bool:
        return os.isatty(2)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _outputs() -> list[_Output]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Output)]


def _begin_in_child() -> None:
    for output in _outputs():
        output.begin()


os.register_at_fork(after_in_child=_begin_in_child)


# ---------------------------------------------------------------------------------------------------------------------
# Lines that repeat


@dataclass(slots=True)
class _Bucket:
    full_s: float  # when it has all its tokens again
    left_out: int = 0


class RepeatLimit:
    """A token bucket for each kind of line: `BURST` at once, then one in `REPEAT_S`. The policy: no clock, no lock."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()  # the one that was used last comes last

    @property
    def left_out(self) -> int:
        """Lines that no later one has counted."""
        return sum(bucket.left_out for bucket in self._buckets.values())

    def admit(self, kind: Hashable, now_s: float) -> int | None:
        """How many of this kind were left out since the last one that was written. None: this one is to be left out, too."""
        bucket = self._buckets.pop(kind, None) or _Bucket(now_s)
        self._buckets[kind] = bucket
        if len(self._buckets) > MAX_KINDS:
            self._buckets.popitem(last=False)
        full_s = max(bucket.full_s, now_s) + REPEAT_S
        if full_s - now_s > BURST * REPEAT_S:
            bucket.left_out += 1
            return None
        bucket.full_s = full_s
        left_out, bucket.left_out = bucket.left_out, 0
        return left_out


def _kind(record: logging.LogRecord, error: BaseException | None) -> Hashable:
    """Lines are alike that one line of code logs, of one type of exception that one line of code raised. Our own exceptions have
    to say the same, too: two models that fail are two kinds. Clients have no part in it, or they could make many kinds."""
    place = error.__traceback__ if error is not None else None
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    raised = (place.tb_frame.f_code.co_filename, place.tb_lineno) if place is not None else None
    said = str(error) if isinstance(error, InferdError) and _tells(error) else None
    return record.name, record.pathname, record.lineno, type(error), raised, said


# ---------------------------------------------------------------------------------------------------------------------
# Lines


def _add(extras: Mapping[str, object], record: logging.LogRecord) -> bool:
    vars(record).update(extras)
    return True


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO    serving.server  message  key=value`; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        message = _message(record).translate(_ESCAPES)
        extras = "".join(f"  {name}={_plain(value).translate(_ESCAPES)}" for name, value in _extras(record).items())
        line = f"{self.begin(record)}  {message}{extras}"
        if traceback := _traceback(record):
            line += "\n" + "\n".join("    " + part.translate(_ESCAPES) for part in traceback.split("\n"))
        return line

    def begin(self, record: logging.LogRecord) -> str:
        """The start of a line, before the message."""
        return f"{_time(record)} {record.levelname:<7} {_area(record)}"


class TerminalLines(TextLines):
    """`12:00:00 WARNING  message  key=value`, in local time and in colours unless NO_COLOR is set: a person reads it now."""

    COLOURS: ClassVar = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "31"}

    def begin(self, record: logging.LogRecord) -> str:
        clock, level = time.strftime("%H:%M:%S", time.localtime(record.created)), f"{record.levelname:<7}"
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return f"{clock} {level}"
        return f"\x1b[2m{clock}\x1b[0m \x1b[{self.COLOURS.get(record.levelname, '32')}m{level}\x1b[0m"


class JsonLines(logging.Formatter):
    """One object a line: time, level, area, the fields of an event, message, what the caller added, and error (a traceback) if there is
    one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "area": _area(record),
            **_fields(record),
            "message": _message(record),
        }
        line |= {name: value for name, value in _extras(record).items() if name not in line}
        if traceback := _traceback(record):
            line["error"] = traceback
        try:
            return json.dumps(line, default=_plain, allow_nan=False)
        except ValueError:  # NaN, or a value that holds itself
            return json.dumps({name: value if isinstance(value, int) else _plain(value) for name, value in line.items()})


def _plain(value: object) -> str:
    """A value as text, whatever it is."""
    try:
        return str(value)
    except Exception as error:
        return f"({type(error).__name__}: {type(value).__name__} without a text)"


def _message(record: logging.LogRecord) -> str:
    """The record's message. If its arguments do not fit the format, it is written without them: else the line would be lost."""
    try:
        return _cut(record.getMessage())
    except Exception as error:
        return f"{record.msg!s} ({type(error).__name__}: the line could not be made; its arguments are left out)"


def _traceback(record: logging.LogRecord) -> str:
    """Where the record's exception was raised, and those that it was raised from; nothing where it has none."""
    error = record.exc_info[1] if record.exc_info else None
    chain: list[BaseException] = []
    while error is not None and error not in chain and len(chain) < MAX_CAUSES:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return _cut("\n\nwhich led to:\n\n".join(map(_told, reversed(chain))))


def _tells(error: BaseException) -> bool:
    return isinstance(error, _TELLING) and not isinstance(error, RequestError)


def _told(error: BaseException) -> str:
    """One exception: places and lines of code, its type, and its text where that holds no values of a request."""
    name = type(error).__qualname__
    try:
        said = f"{name}: {error}" if _tells(error) else f"{name} (its text may hold values of a request, and is left out)"
    except Exception:
        said = name
    return "Traceback (most recent call last):\n" + "".join(format_tb(error.__traceback__)) + said


def _cut(text: str) -> str:
    """At most MAX_TEXT characters, of the beginning and the end."""
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}... ({len(text) - 2 * half} characters are left out) ...{text[-half:]}"


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _area(record: logging.LogRecord) -> str:
    return record.name.removeprefix(ROOT + ".")


def _extras(record: logging.LogRecord) -> Mapping[str, object]:
    return {name: _short(value) for name, value in vars(record).items() if name not in _OWN}


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return {name: _short(value) for name, value in fields.items() if value is not None}


def _short(value: object) -> object:
    return _cut(value) if isinstance(value, str) else value
