"""Log lines: one a record, in both formats, that nobody can forge."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd import log


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    root, logger = logging.getLogger(), logging.getLogger("inferd")
    before = root.handlers.copy(), logger.level, logging.raiseExceptions
    yield
    root.handlers, logger.level, logging.raiseExceptions = before
    logging.captureWarnings(False)


def lines(form: str, *, level: str = "info") -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    log.set_up(level, form, stream)
    return logging.getLogger("inferd.serving.server"), stream


def test_text_has_time_level_area_and_message() -> None:
    logger, stream = lines("text")
    logger.warning("%d requests dropped", 3, extra={"model": "digits"})
    expected = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING serving\.server  3 requests dropped  model=digits\n"
    assert re.fullmatch(expected, stream.getvalue())


def test_json_has_one_object_a_line() -> None:
    logger, stream = lines("json")
    logger.info("ready", extra={"port": 8001, "time": "never"})
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["area"], first["message"], first["port"]) == ("info", "serving.server", "ready", 8001)
    assert first["time"].endswith("Z")
    assert "ValueError: broken" in second["error"]


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
    stream = io.StringIO()
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
    logger, second = lines("text", level="debug")
    logger.debug("that")
    assert first.getvalue().count("\n") == second.getvalue().count("\n") == 1


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
