"""A picture, a sound, a sentence or a record as the body of .../infer: finds its input, and makes its tensors.

This is for models with preprocessing, and for those that take BYTES. The Content-Type decides what a body is; in JSON and in a form each
value has the name of its input. Nothing is decoded here: the model's steps get files as they are. Never in here: HTTP, JSON of the
protocol, threads.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from binascii import Error as NoBase64
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from inferd._core.codec.records import count_commas
from inferd.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from inferd._core.http.head import Head
    from inferd.engine.model import Model

Tensor = tuple[str, str, tuple[int, ...], "list[Buffer]"]  # name, datatype, shape, values

# These types do not describe the content; the last is curl's default for any file.
UNTOLD = (None, b"application/octet-stream", b"application/x-www-form-urlencoded")
JSON_TYPES = (b"application/json", b"text/json", *UNTOLD)  # of a request in JSON
TEXT_TYPE = b"text/plain"  # also of JSON: the default of fetch() in a browser for strings
BRACE = re.compile(rb"[ \t\r\n]{0,1024}\{")  # as in rest_path.pyx
FORM = b"multipart/form-data"
MAX_PARTS = 256  # of a form
MAX_PART_HEAD_NBYTES = 4 << 10
MAX_BOUNDARY_NBYTES = 70  # RFC 2046
MAX_VALUES = 64 << 10  # of an input that has any number of rows
MAX_SHOWN_CHARS = 64  # of a client's text in an error
BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"\\]+)"|([^\s;"]+))', re.IGNORECASE)
CHARSET = re.compile(rb';\s*charset="?([^\s;"]+)"?', re.IGNORECASE)
FIELD_NAME = re.compile(rb'form-data\s*;(?:[^"\r\n]*;)?\s*name=(?:"([^"\r\n]*)"|([^\s;"]+))', re.IGNORECASE)
DATA_URL = re.compile(r"data:[\w.+/;=-]{0,128};base64,")


class ContentKind(StrEnum):
    """The kind of content that an input takes."""

    IMAGE = "image"
    AUDIO = "audio"
    TEXT = "text"
    RECORD = "record"
    BYTES = "bytes"


KINDS = {"decode_image": ContentKind.IMAGE, "decode_audio": ContentKind.AUDIO, "tokenize": ContentKind.TEXT, "columns": ContentKind.RECORD}
NAMES = {"tokenize": "text", "columns": "record"}  # of inputs whose entry has none
TAKEN_TYPES = {
    ContentKind.IMAGE: ("image/jpeg", "image/png", "image/webp", "image/bmp"),
    ContentKind.AUDIO: ("audio/wav", "audio/mpeg", "audio/flac", "audio/ogg"),
    ContentKind.TEXT: ("text/plain",),
    ContentKind.RECORD: ("application/json",),
    ContentKind.BYTES: ("application/octet-stream",),
}
RECORD_TYPES = {"CSV": ("text/csv",), "ARROW": ("application/vnd.apache.arrow.stream",)}  # of columns.format


class RawInput(NamedTuple):
    """An input that takes files, texts or records. step: the Step message of the step that reads it; None: there is none."""

    name: str
    shape: tuple[int, ...]
    kind: ContentKind
    step: Any = None

    @property
    def media_types(self) -> tuple[str, ...]:
        if self.kind != ContentKind.RECORD:
            return TAKEN_TYPES[self.kind]
        columns = self.step.columns
        return RECORD_TYPES.get(columns.Format.Name(columns.format), TAKEN_TYPES[self.kind])

    def most_values(self, max_batch_size: int) -> int:
        """The most values that a request may have for it."""
        if max_batch_size == 0 and self.shape[:1] == (-1,):
            return MAX_VALUES
        return max(max_batch_size, 1) * math.prod(max(size, 1) for size in self.shape)

    def tensor(self, values: list[Buffer]) -> Tensor:
        """The tensor of these values: each is a row, or all of them are one."""
        shape = tuple(max(size, 1) for size in self.shape)
        if self.shape[:1] == (-1,):
            shape = (max(len(values) // math.prod(shape[1:]), 1), *shape[1:])
        if math.prod(shape) != len(values):
            raise InvalidArgument(f"input {self.name!r}: expected {math.prod(shape)} a request, got {len(values)}")
        return self.name, "BYTES", shape, values


def raw_inputs(model: Model) -> list[RawInput]:
    """The inputs of a model that take bytes."""
    shapes = {name: shape for name, word, shape in model.signature.input_specs if word == "BYTES"}
    steps = {}
    for entry in model.config.inferd.preprocess:
        step = entry.steps[0]
        word = step.WhichOneof("step") or ""
        if not (word == "columns" and step.columns.format == step.columns.TENSORS):
            steps[entry.name or NAMES.get(word, entry.input)] = step
    if "" in steps:  # the entry has the name of the graph's input, the only one that is left
        step = steps.pop("")
        steps |= {name: step for name in shapes if name not in steps}
    found = []
    for name, shape in shapes.items():
        reader = steps.get(name)
        kind = ContentKind.BYTES if reader is None else KINDS.get(reader.WhichOneof("step") or "", ContentKind.BYTES)
        found.append(RawInput(name, shape, kind, reader))
    return found


def begins_with_brace(body: Buffer) -> bool:
    """Whether the body begins with a brace, after at most 1 KiB of white space."""
    return BRACE.match(body) is not None


def extra_nbytes(head: Head, body: Buffer) -> int:
    """The most memory that tensors_of takes for a moment, beside the body."""
    nbytes = memoryview(body).nbytes
    if head.content_type == FORM:
        return 2 * nbytes  # the form and its fields
    if _is_json(head.content_type, body):
        return 5 * nbytes  # a string has up to 4 bytes a character, and a copy in UTF-8
    return 0


def _is_json(content_type: bytes | None, body: Buffer) -> bool:
    return content_type in JSON_TYPES and (content_type not in UNTOLD or begins_with_brace(body))


def tensors_of(model: Model, head: Head, body: Any) -> list[Tensor] | None:
    """The model's inputs that a body holds. None: it holds the protocol's JSON, or the model takes no such body. Raises InvalidArgument."""
    inputs = raw_inputs(model)
    content_type = head.content_type
    if content_type == TEXT_TYPE and not any(each.kind == ContentKind.TEXT for each in inputs) and begins_with_brace(body):
        return None
    if not inputs:
        if content_type in JSON_TYPES:
            return None
        raise _wrong_type(model, inputs, content_type)
    if content_type == FORM:
        return _form(model, inputs, head.content_type_whole or b"", bytes(body))
    if _is_json(content_type, body):
        return _json(model, inputs, body)
    chosen = _choose(model, inputs, content_type)
    _check_charset(head.content_type_whole or b"")
    return [chosen.tensor([body])]


def _choose(model: Model, inputs: list[RawInput], content_type: bytes | None) -> RawInput:
    """The input for a content of this type."""
    takers = [each for each in inputs if _takes(each, content_type)]
    if len(takers) > 1:
        precise = [each for each in takers if each.kind != ContentKind.BYTES]
        takers = precise if len(precise) == 1 else takers
    if not takers:
        raise _wrong_type(model, inputs, content_type)
    if len(takers) > 1:
        names = ", ".join(each.name for each in takers)
        raise InvalidArgument(
            f"body: model {model.name!r} has several inputs that it may be for: {names}; send a form (multipart/form-data), whose fields "
            "have their names"
        )
    return takers[0]


def _takes(input_: RawInput, content_type: bytes | None) -> bool:
    if content_type in UNTOLD or input_.kind == ContentKind.BYTES:
        return True
    assert content_type is not None
    if input_.kind == ContentKind.RECORD:
        return content_type.decode("latin-1") in input_.media_types
    return content_type.startswith(input_.kind.encode() + b"/")


def _wrong_type(model: Model, inputs: list[RawInput], content_type: bytes | None) -> InvalidArgument:
    got = (content_type or b"none").decode("latin-1")[:MAX_SHOWN_CHARS]
    if not inputs:
        said = f"Content-Type: expected application/json, as model {model.name!r} has no input that reads a file, got {got}"
        return InvalidArgument(f"{said}; send `inputs`, or serve it with preprocessing", reason="media_type")
    taken = ", ".join(word for each in inputs for word in each.media_types)
    return InvalidArgument(f"Content-Type: expected {taken} for model {model.name!r}, got {got}", reason="media_type")


def _check_charset(whole: bytes) -> None:
    found = CHARSET.search(whole)
    if found is not None and found[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise InvalidArgument(f"Content-Type: expected charset=utf-8, got {found[1].decode('latin-1')[:MAX_SHOWN_CHARS]!r}; send UTF-8")


# ---- JSON ----


class Base64(msgspec.Struct, forbid_unknown_fields=True):
    """Bytes in JSON: {"b64": ...}."""

    b64: str


Value = str | Base64


def _json(model: Model, inputs: list[RawInput], content: Buffer) -> list[Tensor] | None:
    """The tensors of JSON: a record, an array of records, or an object of values by the names of inputs."""
    try:
        if len(inputs) == 1 and inputs[0].kind == ContentKind.RECORD:
            if begins_with_brace(content):
                return [inputs[0].tensor([content])]
            _check_count(model, inputs, content, 1)
            return [inputs[0].tensor(list(msgspec.json.decode(content, type=list[msgspec.Raw])))]
        _check_count(model, inputs, content, 2)
        found = msgspec.json.decode(content, type=dict[str, Value | list[Value]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(inputs, error) from None
    by_name = {each.name: each for each in inputs}
    if not found or not found.keys() <= by_name.keys():
        other = next((name for name in found if name not in by_name), "")
        got = repr(other[:MAX_SHOWN_CHARS]) if found else "an empty object"
        raise InvalidArgument(f"body: expected an array `inputs`, or an object with {', '.join(by_name)}; got {got}")
    return [
        by_name[name].tensor([_bytes(by_name[name], one) for one in (value if isinstance(value, list) else [value])])
        for name, value in found.items()
    ]


def _bytes(input_: RawInput, value: Value) -> bytes:
    """The bytes of a value. A string is a text, or base64 where the input takes files."""
    if isinstance(value, str) and input_.kind not in (ContentKind.IMAGE, ContentKind.AUDIO):
        return value.encode()
    text = value.b64 if isinstance(value, Base64) else value
    url = DATA_URL.match(text)
    try:
        return b64decode(text[url.end() :] if url else text, validate=True)
    except (NoBase64, ValueError):
        kind = "" if input_.kind == ContentKind.BYTES else f"{input_.kind} "
        raise InvalidArgument(f"input {input_.name!r}: expected {kind}bytes in base64, got a string that is none") from None


def _check_count(model: Model, inputs: list[RawInput], content: Buffer, deepest: int) -> None:
    """Limits the values before they become objects, which take a hundred times their memory. deepest: the level of the arrays of values."""
    most = sum(each.most_values(model.signature.max_batch_size) for each in inputs)
    if (got := count_commas(content, deepest) + 1) > most:
        raise InvalidArgument(f"body: model {model.name!r}: expected at most {most} values in a request, got {got}; send several requests")


def _no_json(inputs: list[RawInput], error: Exception) -> InvalidArgument:
    cure = "; a text that begins with { needs Content-Type: text/plain" if any(each.kind == ContentKind.TEXT for each in inputs) else ""
    return InvalidArgument(
        f'body: expected JSON with `inputs`, or with texts, base64 strings or {{"b64": ...}} by the names of inputs: '
        f"{str(error)[:128]}{cure}"
    )


# ---- forms ----


class FormField(NamedTuple):
    """One field of a form."""

    name: str
    content_type: bytes | None
    content: bytes


def _form(model: Model, inputs: list[RawInput], whole: bytes, content: bytes) -> list[Tensor]:
    """Fields that have an input's name are rows of it; others are for the input that takes their type."""
    by_name = {each.name: each for each in inputs}
    rows: dict[str, list[Buffer]] = {}
    for part in parts_of(whole, content):
        input_ = by_name.get(part.name) or _choose(model, inputs, part.content_type)
        rows.setdefault(input_.name, []).append(part.content)
    if not rows:
        raise InvalidArgument(f"body: expected a form with at least one of {', '.join(by_name)}, got an empty one")
    return [by_name[name].tensor(values) for name, values in rows.items()]


def parts_of(whole: bytes, content: bytes) -> Iterator[FormField]:
    """The fields of multipart/form-data (RFC 7578). whole: the Content-Type with its parameters. Raises InvalidArgument."""
    found = BOUNDARY.search(whole)
    boundary = (found[1] or found[2]) if found is not None else b""
    if not 0 < len(boundary) <= MAX_BOUNDARY_NBYTES:
        raise InvalidArgument(f"Content-Type: expected multipart/form-data; boundary=... of 1 to {MAX_BOUNDARY_NBYTES} characters")
    delimiter = b"\r\n--" + boundary
    if content.startswith(delimiter[2:]):
        at = len(delimiter) - 2
    elif (first := content.find(delimiter)) >= 0:  # behind a preamble
        at = first + len(delimiter)
    else:
        raise InvalidArgument("body: expected a form that begins with the boundary of its Content-Type, got none")
    for _ in range(MAX_PARTS):
        if content.startswith(b"--", at):
            return
        line_end = content.find(b"\r\n", at, at + MAX_PART_HEAD_NBYTES)
        if line_end < 0 or content[at:line_end].strip(b" \t"):
            raise InvalidArgument("body: expected a line end behind each boundary of the form")
        # Each part has headers, for it needs a name.
        head_end = content.find(b"\r\n\r\n", line_end, line_end + MAX_PART_HEAD_NBYTES)
        if head_end < 0:
            raise InvalidArgument(f"body: expected headers of at most {MAX_PART_HEAD_NBYTES} bytes for each field of the form")
        end = content.find(delimiter, head_end + 2)
        if end < 0:
            raise InvalidArgument("body: expected the form to end with its boundary and --, got a field without an end")
        yield _part(content[line_end + 2 : head_end], content[head_end + 4 : max(end, head_end + 4)])
        at = end + len(delimiter)
    raise InvalidArgument(f"body: expected at most {MAX_PARTS} fields in the form, got more")


def _part(head: bytes, content: bytes) -> FormField:
    name, content_type = None, None
    for line in head.split(b"\r\n"):
        field, colon, value = line.partition(b":")
        match field.strip().lower() if colon else b"":
            case b"content-disposition":
                name = FIELD_NAME.match(value.strip())
            case b"content-type":
                content_type = value.partition(b";")[0].strip().lower()
            case b"content-transfer-encoding" if value.strip().lower() not in (b"binary", b"8bit", b"7bit"):
                raise InvalidArgument("body: expected fields of the form as they are, without Content-Transfer-Encoding (RFC 7578)")
    if name is None:
        raise InvalidArgument('body: expected Content-Disposition: form-data; name="..." in each field of the form')
    try:
        return FormField((name[1] if name[1] is not None else name[2]).decode(), content_type, content)
    except UnicodeDecodeError:
        raise InvalidArgument("body: expected names in UTF-8 in the form, got bytes that are none") from None
