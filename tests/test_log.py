"""Log lines: one a record, in both formats, that nobody can forge, quote no request, and wait for no reader."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd import log
from inferd.errors import ConfigError, InvalidArgument
from tests.command import environment, full_pipe

LIMIT_S = 20
SECRET = "told by a client"


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    root, logger = logging.getLogger(), logging.getLogger("inferd")
    before = root.handlers.copy(), logger.level, logging.raiseExceptions
    yield
    for handler in set(root.handlers) - set(before[0]):
        handler.close()
    root.handlers, logger.level, logging.raiseExceptions = before
    logging.captureWarnings(False)


class Written(io.BytesIO):
    def getvalue(self) -> str:  # type: ignore[override]
        for handler in logging.getLogger().handlers:
            handler.flush()
        return super().getvalue().decode()


def lines(form: str, *, level: str = "info") -> tuple[logging.Logger, Written]:
    stream = Written()
    log.set_up(level, form, stream)
    return logging.getLogger("inferd.serving.server"), stream


def test_text_has_time_level_area_and_message() -> None:
    logger, stream = lines("text")
    logger.warning("%d requests dropped", 3, extra={"model": "digits"})
    expected = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING serving\.server  3 requests dropped  model=digits\n"
    assert re.fullmatch(expected, stream.getvalue())


def test_levels_can_be_left_out_one_by_one() -> None:
    logger, stream = lines("text")
    log.show_levels({logging.INFO, logging.ERROR})
    assert log.shown_levels() == {logging.INFO, logging.ERROR}
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(level, "said at %d", level)
    assert re.findall("said at ([0-9]+)", stream.getvalue()) == ["20", "40"]
    log.change("warning", "text")
    assert log.shown_levels() == {logging.WARNING, logging.ERROR}


def test_json_has_one_object_a_line() -> None:
    logger, stream = lines("json")
    logger.info("ready", extra={"port": 8001, "time": "never"})
    try:
        raise FileNotFoundError("broken")
    except FileNotFoundError:
        logger.exception("failed")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["area"], first["message"], first["port"]) == ("info", "serving.server", "ready", 8001)
    assert first["time"].endswith("Z")
    assert "FileNotFoundError: broken" in second["error"]


def test_an_event_has_fields_for_programs_and_a_sentence_for_people() -> None:
    fields = log.event("model_loaded", model="digits", version=1, duration_ms=12.5, request_id=None)
    said = {}
    for form in ("json", "text"):
        logger, stream = lines(form)
        logger.info("model '%s' is loaded", "digits", extra=fields)
        said[form] = stream.getvalue()
    line = json.loads(said["json"])
    assert (line["event"], line["model"], line["version"], line["duration_ms"]) == ("model_loaded", "digits", 1, 12.5)
    assert line["message"] == "model 'digits' is loaded"
    assert "request_id" not in line
    assert said["text"].endswith("model 'digits' is loaded\n")


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
        (b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what.comes", "4bf92f3577b34da6a3ce929d0e0e4736"),
        (b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
        (b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None),
        (b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", None),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01", None),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_trace_of_a_request_as_w3c_has_it(header: bytes | None, trace: str | None) -> None:
    assert log.trace_id(header) == trace


@pytest.mark.parametrize("variable", ["", "1"])
def test_lines_on_a_terminal_are_short(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setenv("TERM", "xterm")
    record = logging.makeLogRecord({"name": "inferd.serving.server", "levelname": "ERROR", "msg": "no\x1b[2J", "model": "m"})
    line = log.TerminalLines().format(record)
    plain = re.sub("\x1b\\[[0-9]*m", "", line)
    assert re.fullmatch(r"\d\d:\d\d:\d\d ERROR    no\\x1b\[2J  model=m", plain)
    assert (plain == line) == bool(variable)


def test_a_value_that_is_no_json_is_written_as_text() -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise TypeError("it has no text")

    logger, stream = lines("json")
    logger.info("odd", extra={"ratio": float("nan"), "value": Unspeakable()})
    line = json.loads(stream.getvalue(), parse_constant=pytest.fail)
    assert (line["message"], line["ratio"], line["value"]) == ("odd", "nan", "(TypeError: Unspeakable without a text)")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_is_swallowed(form: str) -> None:
    """An argument that does not fit is a fault of ours, and no reason to say nothing."""

    class Unspeakable:
        def __str__(self) -> str:
            raise TypeError("a tuple where text was expected")

        def __repr__(self) -> str:
            raise TypeError("no")

    logger, stream = lines(form)
    logger.info("connected: %s from %s", "one")
    logger.info("connected: %s", Unspeakable())
    logger.info("after")
    said = stream.getvalue().splitlines()
    assert len(said) == 3
    assert "connected: %s from %s" in said[0]
    assert "TypeError: the line could not be made" in said[0]
    assert "connected: %s" in said[1]


def test_who_wrote_it_stands_in_each_line() -> None:
    stream = Written()
    log.set_up("info", "text", stream, worker=2)
    logging.getLogger("inferd.serving").info("ready")
    log.set_up("info", "json", stream, worker=2)
    logging.getLogger("inferd.serving").info("ready")
    text, line = stream.getvalue().splitlines()
    assert text.endswith("serving  ready  worker=2")
    assert json.loads(line)["worker"] == 2


def test_level_and_second_set_up() -> None:
    logger, first = lines("text", level="error")
    logger.warning("not this")
    logger.error("this")
    assert first.getvalue().count("\n") == 1
    log.change("debug", "json")
    logger.debug("that")
    assert json.loads(first.getvalue().splitlines()[1])["message"] == "that"
    logger, second = lines("text", level="debug")
    logger.debug("that")
    assert first.getvalue().count("\n") == 2
    assert second.getvalue().count("\n") == 1


@given(st.text(), st.sampled_from(["text", "json"]))
def test_no_content_makes_a_second_line(content: str, form: str) -> None:
    logger, stream = lines(form)
    logger.info("unknown model %s", content, extra={"model": content})
    assert len(stream.getvalue().splitlines()) == 1


def test_other_libraries_come_in_the_same_form() -> None:
    _, stream = lines("json")
    logging.getLogger("asyncio").error("a task was lost")
    logging.getLogger("asyncio").info("nobody asked")
    with warnings.catch_warnings(record=False):
        warnings.simplefilter("default")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["area"], first["level"], first["message"]) == ("asyncio", "error", "a task was lost")
    assert second["area"] == "py.warnings"


def test_a_traceback_is_indented_in_text() -> None:
    logger, stream = lines("text")
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        logger.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_a_closed_stream_ends_nothing() -> None:
    logger, stream = lines("text")
    stream.close()
    logger.info("into the void")
    logging.getLogger().handlers[-1].flush()
    assert log.dropped() == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_text_of_an_exception_that_may_quote_a_request(form: str) -> None:
    """Its place and type are written, also where it was raised from another one; so is the text of our own."""
    logger, stream = lines(form)
    try:
        try:
            try:
                int(SECRET)
            except ValueError as error:
                raise InvalidArgument(SECRET) from error
        except InvalidArgument:
            raise ConfigError("models: expected a path")  # noqa: B904
    except ConfigError:
        logger.exception("failed")
    log.loop_failed(None, {"message": f"a callback failed({SECRET!r})", "exception": RuntimeError(SECRET), "handle": SECRET})
    said = stream.getvalue()
    assert SECRET not in said
    told = (
        "ValueError (its text",
        "InvalidArgument (its text",
        "ConfigError: models: expected a path",
        "a callback failed",
        "RuntimeError (",
    )
    places = [said.index(words) for words in told]
    assert places == sorted(places)


def test_a_long_record_loses_its_middle() -> None:
    logger, stream = lines("json")
    length = 100 * log.MAX_TEXT
    logger.info("<%s>", "x" * (length - 2), extra={"model": "y" * length})
    line = json.loads(stream.getvalue())
    assert line["message"].startswith("<x")
    assert line["message"].endswith("x>")
    for text in (line["message"], line["model"]):
        assert log.MAX_TEXT < len(text) < log.MAX_TEXT + 100
        assert f"({length - log.MAX_TEXT} characters are left out)" in text


def test_a_traceback_that_repeats_is_written_a_few_times_then_once_a_minute() -> None:
    limit = log.RepeatLimit()
    assert [limit.admit("one", 1.0) for _ in range(log.BURST + 3)] == [0] * log.BURST + [None] * 3
    assert limit.admit("another", 1.0) == 0
    assert limit.left_out == 3
    assert limit.admit("one", 1.0 + log.REPEAT_S) == 3
    assert [limit.admit("one", 1.5 + log.REPEAT_S) for _ in range(2)] == [None, None]
    quiet_s = 3 * log.BURST * log.REPEAT_S
    assert [limit.admit("one", quiet_s) for _ in range(log.BURST + 1)] == [2] + [0] * (log.BURST - 1) + [None]


@given(st.lists(st.integers(0, 10 * log.MAX_KINDS)))
def test_kinds_of_tracebacks_are_bounded(kinds: list[int]) -> None:
    limit = log.RepeatLimit()
    for kind in (*kinds, *range(log.MAX_KINDS + 1), 5):
        limit.admit(kind, 0.0)
    assert len(limit._buckets) == log.MAX_KINDS


def test_repeated_tracebacks_share_a_line() -> None:
    logger, stream = lines("json")

    def fail(text: str) -> None:
        try:
            raise ConfigError(text)
        except ConfigError:
            logger.exception("failed: %s", text)

    for _ in range(100):
        fail("one")
    fail("another")
    for number in range(2 * log.BURST):
        logger.error("no traceback")
        logger.error("limited %d", number, extra=log.LIMITED)
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages[: log.BURST + 1] == ["failed: one"] * log.BURST + ["failed: another"]
    assert messages.count("no traceback") == 2 * log.BURST
    assert [line for line in messages if line.startswith("limited")] == [f"limited {number}" for number in range(log.BURST)]
    logging.getLogger().handlers[-1].close()
    assert json.loads(stream.getvalue().splitlines()[-1])["message"] == "100 tracebacks or warnings were left out that repeat others"


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_that_find_no_room_are_dropped_counted_and_reported(blocking: bool) -> None:
    with full_pipe() as (reads, writes):
        check_drops(reads, writes, blocking)


def check_drops(reads: int, writes: int, blocking: bool) -> None:
    os.set_blocking(writes, blocking)
    logger = logging.getLogger("inferd.serving")
    with open(writes, "wb", buffering=0, closefd=False) as stream:
        log.set_up("info", "json", stream, worker=2)
        text = "x" * 1000
        for number in range(2000):
            logger.info("%d %s", number, text)
        dropped = log.dropped()
        assert dropped * 1300 > 2000 * 1000 - log.MAX_QUEUED_BYTES, "the queue holds MAX_QUEUED_BYTES at most"
        assert 2000 - dropped > log.MAX_QUEUED_BYTES / 1300, "and not much less"
        came: list[bytes] = []
        reader = threading.Thread(target=lambda: came.extend(iter(lambda: os.read(reads, 1 << 16), b"")))
        reader.start()
        logging.getLogger().handlers[-1].flush()
        logger.info("again")
        logging.getLogger().handlers[-1].flush()
    os.close(writes)
    reader.join(LIMIT_S)
    numbers = [json.loads(line)["message"].split()[0] for line in b"".join(came).lstrip(b"\0").splitlines()]
    assert numbers == [*map(str, range(2000 - dropped)), str(dropped), "again"]
    assert log.dropped() == dropped


def test_a_reader_that_has_stopped_delays_an_end_by_a_second_at_most() -> None:
    """By FLUSH_S once, however often logging asks for a flush; nothing that Python writes to stderr waits either."""
    code = """if True:
        import logging, os, sys, threading
        from inferd import log
        log.set_up()
        logging.getLogger("inferd").error("not read")
        print("nor this", "x" * 100_000, file=sys.stderr)
        thread = threading.Thread(target=lambda: int("nor that"))
        thread.start()
        thread.join()
        class Ended:
            def __del__(self):
                raise ValueError
        Ended()
        logging.getLogger().handlers[-1].flush()
        print("done", flush=True)
        sys.exit(7)
    """
    program = [sys.executable, "-c", code]
    with full_pipe() as (_, writes):
        ended = subprocess.run(program, stdout=subprocess.PIPE, stderr=writes, timeout=LIMIT_S, check=False, env=environment())
    assert (ended.returncode, ended.stdout) == (7, b"done\n")


def test_what_nobody_handles_is_logged_without_its_text() -> None:
    code = """if True:
        import os, sys, threading
        from inferd import log
        log.set_up("info", "json")
        thread = threading.Thread(target=lambda: int("sec" + "ret"), name="t")
        thread.start()
        thread.join()
        class Ended:
            def __del__(self):
                raise ValueError("sec" + "ret")
        Ended()
        if os.fork() == 0:  # a child has no thread of its parent
            log.log.warning("in the child")
            sys.exit()
        os.wait()
    """
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]  # from 3.12 on fork() warns where there are threads
    ended = subprocess.run(program, capture_output=True, text=True, timeout=LIMIT_S, check=True, env=environment())
    lines = list(map(json.loads, ended.stderr.splitlines()))
    assert [line["message"] for line in lines] == ["thread t ended", "an exception was ignored in Ended.__del__", "in the child"]
    assert all("ValueError (its text may hold" in line["error"] for line in lines[:2])
    assert "secret" not in ended.stderr
