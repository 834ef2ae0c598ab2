"""Errors about values in config.pbtxt, worded as for config.toml (toml_faults.py): the field, what was expected, what came. protobuf's
parser names only a line and a column, and no range and no names of an enum.

Never in here: files, syntax errors (the parser words these), what a field means.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from inferd.engine.configuration.toml_faults import expected, is_repeated

_TOKEN = re.compile(r"""(?P<passed>\#[^\n]*)|(?P<value>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[-+.\w]+)|(?P<mark>[{}<>\[\]:,])""")


class _Message:
    """The state of a message while it is read: the next field, and how often each field was there."""

    def __init__(self, descriptor: Any, path: str) -> None:
        self.descriptor = descriptor  # None: unknown
        self.path = path
        self.counts: dict[str, int] = {}
        self.name = ""
        self.listed = False  # inside brackets
        self.valued = False  # after the colon

    @property
    def field(self) -> Any:
        return self.descriptor.fields_by_name.get(self.name) if self.descriptor is not None else None

    @property
    def place(self) -> str:
        """The place of the next value, such as "inferd.preprocess[0].name"."""
        here = f"{self.path}.{self.name}" if self.path else self.name
        repeated = self.field is not None and is_repeated(self.field)
        return f"{here}[{self.counts[self.name] - 1}]" if repeated else here

    def begin(self, name: str) -> None:
        self.name = name
        self.counts[name] = self.counts.get(name, 0) + 1


def value_fault(text: str, descriptor: Any, line: int, column: int) -> str:
    """The error of the value at this line and column, both counted from 1; '' if the field takes it. descriptor: of the whole text."""
    at = _offset(text, line, column)
    messages = [_Message(descriptor, "")]
    for token in _TOKEN.finditer(text):
        message, word = messages[-1], token.group()
        if token.start() >= at:
            is_value = token.start() == at and token["value"] is not None and message.valued
            if not is_value or message.field is None or message.field.message_type is not None:
                return ""
            wanted = expected(_value(word), message.field)
            return f"{message.place}: expected {wanted}, got {word}" if wanted else ""
        _pass(messages, word, bool(token["value"]))
    return ""


def without_field(text: str, line: int, column: int) -> str:
    """Replaces the field whose name or value begins there by blanks; '' where nothing begins there."""
    at = _offset(text, line, column)
    tokens = [token for token in _TOKEN.finditer(text) if token["passed"] is None]
    words = [token.group() for token in tokens]
    first = next((number for number, token in enumerate(tokens) if token.start() == at), None)
    if first is None:
        return ""
    if words[first + 1 : first + 2] and words[first + 1] not in ":{<":  # a value: back to the name before its colon
        while first > 0 and words[first] != ":":
            first -= 1
        first = max(first - 1, 0)
    last = first + 1
    if words[last : last + 1] == [":"]:
        last += 1
    depth = 0
    while last < len(words):
        depth += (words[last] in "{<[") - (words[last] in "}>]")
        if depth <= 0:
            break
        last += 1
    end = tokens[min(last, len(tokens) - 1)].end()
    start = tokens[first].start()
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def _offset(text: str, line: int, column: int) -> int:
    return sum(len(before) + 1 for before in text.split("\n")[: line - 1]) + column - 1


def _value(word: str) -> int | float | str:
    """The value of a token: in quotes a text; else a number, or a name."""
    if word[0] in "\"'":
        return word[1:-1]
    for read in (lambda: int(word, 0), lambda: float(word.lower().removesuffix("f"))):
        with suppress(ValueError):
            return read()
    return word


def _pass(messages: list[_Message], word: str, is_value: bool) -> None:
    """Updates the state of the messages by one token."""
    message = messages[-1]
    if is_value:
        if message.valued:
            message.valued = message.listed
        else:
            message.begin(word)
    elif word in "{<":
        message.valued = message.listed
        messages.append(_Message(message.field and message.field.message_type, message.place))
    elif word in "}>" and len(messages) > 1:
        messages.pop()
    elif word == ":":
        message.valued = True
    elif word in "[]":
        message.listed = message.valued = word == "["
    elif word == "," and message.listed:
        message.begin(message.name)
