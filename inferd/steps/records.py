"""Records as clients send them, in JSON, CSV, Arrow or as typed columns -> rows of settled values (columns.py).

JSON has a fast path: a valid record is decoded into a msgspec Struct of exactly these columns, without a check of each value. Any other
record takes the slow path, which says what is wrong and where.

Only this module and record/ import `pyarrow`. Never in here: encodings, arrays.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from inferd._core.codec.records import count_pairs
from inferd.arrow_messages import is_compressed
from inferd.errors import InvalidArgument
from inferd.protocol import options
from inferd.steps.columns import BadValue, Column, meant_by, twin_of
from inferd.steps.csv_lines import read_csv
from inferd.steps.pipeline import Value, wrong_row

MAX_RECORD_BYTES = 128 << 10  # of one record in any format. The csv module takes no longer field
CHECK_ROWS = 32  # between two looks at whether somebody waits

_INT64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_JSON_TYPES: dict[str, Any] = {"FP32": float, "FP64": float, "INT64": _INT64, "BOOL": bool, "BYTES": str}

# In JSON: a surrogate pair, half of one, any other escape.
_ESCAPES = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.", re.DOTALL)
# Words of JavaScript, Python and others for numbers that JSON lacks; msgspec stops in the first three bytes of such a word.
_NOT_FINITE = re.compile(rb"[-+]?(nan|inf(?:inity)?)\b", re.IGNORECASE)

Row = Sequence[Any]  # a record's settled values, in the order of the columns


class Reader:
    """The common base of the formats. `name`: of the input that clients send."""

    def __init__(self, name: str, columns: Sequence[Column], *, refuse_unknown: bool) -> None:
        self.name = name
        self.columns = tuple(columns)
        self.names = [column.name for column in columns]
        self.known = frozenset(self.names)
        self.refuse_unknown = refuse_unknown

    def rows(self, values: Sequence[Value], check: Callable[[], None]) -> list[Row]:
        """One request's values -> a settled row for each record. Raises InvalidArgument."""
        rows = []
        for row, view in enumerate(values[0]):
            if row % CHECK_ROWS == 0:
                check()
            if len(view) > MAX_RECORD_BYTES:
                raise self.bad(row, f"expected a record of at most {MAX_RECORD_BYTES} bytes, got {len(view)}: leave out what is no column")
            rows.append(self.record(row, view))
        return rows

    def record(self, row: int, view: memoryview) -> Row:
        """One record -> its settled values. Raises InvalidArgument."""
        raise NotImplementedError

    def bad(self, row: int, why: str) -> InvalidArgument:
        """A record that cannot be used as a whole."""
        return wrong_row(self.name, row, why)

    def wrong(self, row: int, column: Column, why: str) -> InvalidArgument:
        """A value that cannot be used."""
        return self.bad(row, f"column {column.name!r}: {why}")

    def settled(self, row: int, column: Column, value: Any) -> Any:
        try:
            return column.settle(value)
        except BadValue as error:
            raise self.wrong(row, column, str(error)) from None

    def parsed(self, row: int, column: Column, text: str, parse: Callable[[str], Any]) -> Any:
        """The same of a text. `parse`: Column's way of reading it."""
        try:
            return column.settle(parse(text))
        except BadValue as error:
            raise self.wrong(row, column, str(error)) from None

    def reject_twins(self, row: int, found: Collection[str]) -> None:
        """Rejects names that only look like a column's: the column would count as missing."""
        for column in self.columns:
            if why := twin_of(column.name, (name for name in found if name == column.name or name not in self.known)):
                raise self.wrong(row, column, why)

    def reject_wrong_names(self, row: int, found: Collection[str]) -> None:
        """Rejects a record that lacks a column, or has a name that is no column."""
        self.reject_twins(row, found)
        for column in self.columns:
            if column.name not in found and not column.allow_absent:
                near = meant_by(column.name, (name for name in found if name not in self.known))
                has = f", and has {quoted(near)}, which is no column" if near else ""
                null = ", or null where none is known" if column.fills else ""
                raise self.wrong(row, column, f"the record lacks it{has}: send {column.wanted}{null}")
        for name in found if self.refuse_unknown else ():
            if name not in self.known:
                raise self.bad(row, f"{quoted(name)} is no column: send {listed(self.names)} only")


class JsonReader(Reader):
    """Each row a JSON object, by column name."""

    def __init__(self, name: str, columns: Sequence[Column], *, refuse_unknown: bool) -> None:
        super().__init__(name, columns, refuse_unknown=refuse_unknown)
        self._decode = self._short_way()
        self._parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._count = len(columns)
        self._allows_absent = any(column.allow_absent for column in columns)

    def _short_way(self) -> Callable[[memoryview], Any] | None:
        """Decodes a record that is as it should be, and raises ValidationError for any other; None where names allow no Struct."""
        if any(re.search(r'[\x00-\x1f"\\]', name) for name in self.names):
            return None
        fields: list[Any] = []
        for place, column in enumerate(self.columns):
            kind = float | str if column.dated else _JSON_TYPES[column.datatype]
            if column.allow_absent:
                fields.append((f"c{place}", kind | None | msgspec.UnsetType, msgspec.UNSET))
            else:
                fields.append((f"c{place}", kind | None if column.fills else kind))
        wire = {f"c{place}": name for place, name in enumerate(self.names)}
        made = msgspec.defstruct("Record", fields, rename=wire, forbid_unknown_fields=self.refuse_unknown, kw_only=True, gc=False)
        return msgspec.json.Decoder(made).decode

    def record(self, row: int, view: memoryview) -> Row:
        if self._decode is not None:
            try:
                values = msgspec.structs.astuple(self._decode(view))
            except (ValueError, RecursionError):  # msgspec's errors, and those of text that is no UTF-8
                return self._long_way(row, view)
            absent = values.count(msgspec.UNSET) if self._allows_absent else 0
            if count_pairs(view) != self._count - absent:  # other fields, or some twice
                parts = self._object(row, view)
                self._reject_twice(row, view, parts)
                self.reject_twins(row, parts)
            return [None if value is msgspec.UNSET else value for value in values] if absent else values
        return self._long_way(row, view)

    def _long_way(self, row: int, view: memoryview) -> Row:
        parts = self._object(row, view)
        self._reject_twice(row, view, parts)
        self.reject_wrong_names(row, parts)
        return [self.settled(row, column, self._value(row, column, parts.get(column.name))) for column in self.columns]

    def _object(self, row: int, view: memoryview) -> dict[str, msgspec.Raw]:
        try:
            str(view, "utf-8")  # msgspec does not look into texts that nobody asked for
            return self._parts(view)
        except UnicodeDecodeError as error:
            raise self.bad(row, _not_utf8("JSON", error)) from None
        except RecursionError:
            raise self.bad(row, "its JSON is nested too deep: send one flat object") from None
        except msgspec.ValidationError:
            raise self.bad(row, "expected a JSON object of columns, got another kind of JSON value") from None
        except msgspec.DecodeError as error:
            place = re.search(r"byte (\d+)", str(error))
            half = next((match.start(1) for match in _ESCAPES.finditer(view) if match[1]), None)
            if half is not None and (place is None or half < int(place[1])):
                why = f"the escape at byte {half} is half of a surrogate pair: send both halves, or the character itself"
                raise self.bad(row, f"expected JSON of whole characters, and {why}") from None
            if place and (number := _not_finite(view, int(place[1]))):
                raise self.bad(row, f"expected one JSON object, and {number}") from None
            where = f"byte {place[1]} does not fit" if place else "it ends too early"
            raise self.bad(row, f"expected one JSON object, and {where}: send {{...}} of columns") from None

    def _value(self, row: int, column: Column, part: msgspec.Raw | None) -> Any:
        if part is None:
            return None
        try:
            return msgspec.json.decode(part)
        except RecursionError:
            raise self.wrong(row, column, "its value is nested too deep: send one value") from None
        except msgspec.ValidationError:  # no type was asked for: a number is out of range
            got = quoted(str(bytes(part), "utf-8"))
            raise self.wrong(row, column, f"expected a number that FP64 can hold, up to 1.8e308, got {got}") from None
        except msgspec.DecodeError:
            raise self.wrong(row, column, "its value is no JSON") from None

    def _reject_twice(self, row: int, view: memoryview, parts: dict[str, msgspec.Raw]) -> None:
        if count_pairs(view) == len(parts):
            return
        try:
            names = [name for name, _ in json.loads(bytes(view), object_pairs_hook=list)]
        except (ValueError, RecursionError):  # what msgspec takes and json does not
            names = []
        seen: set[str] = set()
        twice = next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
        where = "a field" if twice is None else f"column {quoted(twice)}" if twice in self.known else f"field {quoted(twice)}"
        raise self.bad(row, f"{where} is there twice: send it once")


class CsvReader(Reader):
    """Each row a line of CSV (RFC 4180, no header), columns in order."""

    def record(self, row: int, view: memoryview) -> Row:
        try:
            text = str(view, "utf-8")
        except UnicodeDecodeError as error:
            raise self.bad(row, _not_utf8("CSV", error)) from None
        try:
            records = [fields for _, fields in read_csv([text])]
        except csv.Error:
            raise self.bad(row, "expected one line of CSV, and its quotes or line ends do not fit: quote as RFC 4180 says") from None
        if not records:
            raise self.bad(row, 'expected a line of CSV, got a blank one, which is no record: write an empty field alone as ""')
        (fields,) = records
        if len(fields) != len(self.columns):
            raise self.bad(row, f"expected a line of {len(self.columns)} fields ({listed(self.names)}), got {len(fields)}")
        return [self.parsed(row, column, field, column.parse) for column, field in zip(self.columns, fields, strict=True)]


class TensorReader(Reader):
    """Each column an input of its own, [rows, 1]. An empty text is no value, which cannot be said otherwise; any other is itself."""

    def rows(self, values: Sequence[Value], check: Callable[[], None]) -> list[Row]:
        check()
        columns = [self._column(column, value) for column, value in zip(self.columns, values, strict=True)]
        return list(zip(*columns, strict=True))

    def _column(self, column: Column, value: Value) -> list[Any]:
        if isinstance(value, list):
            return [self.parsed(row, column, self._text(row, column, view), column.read) for row, view in enumerate(value)]
        return [self.settled(row, column, number) for row, number in enumerate(value.reshape(-1).tolist())]

    def _text(self, row: int, column: Column, view: memoryview) -> str:
        if len(view) > MAX_RECORD_BYTES:
            raise self.wrong(row, column, f"expected at most {MAX_RECORD_BYTES} bytes, got {len(view)}")
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError as error:
            raise self.wrong(row, column, _not_utf8("text", error)) from None

    def wrong(self, row: int, column: Column, why: str) -> InvalidArgument:
        return wrong_row(column.name, row, why)


class ArrowReader(Reader):
    """Each row an Arrow IPC stream of one record, columns by name."""

    def __init__(self, name: str, columns: Sequence[Column], *, refuse_unknown: bool) -> None:
        super().__init__(name, columns, refuse_unknown=refuse_unknown)
        import pyarrow
        import pyarrow.ipc

        self._arrow = pyarrow

    def record(self, row: int, view: memoryview) -> Row:
        try:
            table = self._table(row, view)
            self._validate(row, table)
            names = table.schema.names
            if len(set(names)) < len(names):
                raise self.bad(row, "a column is there twice: send each once")
            found = dict(zip(names, table.columns, strict=True))
            self.reject_wrong_names(row, found)
            return [self._value(row, column, found.get(column.name)) for column in self.columns]
        except InvalidArgument:
            raise
        except Exception:  # there is no telling what pyarrow raises for bytes that are no stream
            raise self.bad(row, "expected an Arrow IPC stream of one record: write it with pyarrow.ipc.new_stream") from None

    def _table(self, row: int, view: memoryview) -> Any:
        """The one batch of the stream, of one row. The stream may announce no more than its bytes hold."""
        arrow = self._arrow
        batches = 0
        for message in arrow.ipc.MessageReader.open_stream(arrow.py_buffer(view)):
            batches += message.type == "record batch"
            if message.type in ("record batch", "dictionary") and is_compressed(message.metadata):
                raise self.bad(row, "its buffers are compressed, which records are not worth: write it without compression")
        stream = arrow.ipc.open_stream(arrow.py_buffer(view))
        for field in stream.schema:
            if not self._flat(field.type):
                kind = f"{field.type!s:.40}"
                why = "send numbers, true or false, text, or dates (timestamp, date32, date64), one value a column"
                raise self.bad(row, f"Arrow column {quoted(field.name)} has the type {kind}, which is none that a column takes: {why}")
        table = stream.read_next_batch() if batches == 1 else None
        if table is None or table.num_rows != 1:
            got = f"{batches} batches" if table is None else table.num_rows
            raise self.bad(row, f"expected one record, got {got}: send each as a row of the input")
        return table

    def _flat(self, kind: Any) -> bool:
        types = self._arrow.types
        if types.is_dictionary(kind):
            return self._flat(kind.value_type) and not types.is_dictionary(kind.value_type)
        numbers = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
        texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary, types.is_binary_view)
        return any(is_it(kind) for is_it in (*numbers, *texts, types.is_timestamp, types.is_date))

    def _validate(self, row: int, table: Any) -> None:
        try:
            table.validate(full=True)
        except self._arrow.ArrowInvalid:
            why = "its buffers do not fit its types, or a text in it is no UTF-8: write it with pyarrow.ipc.new_stream"
            raise self.bad(row, f"expected an Arrow record of whole values, and {why}") from None

    def _value(self, row: int, column: Column, found: Any) -> Any:
        try:
            value = None if found is None else self._plain(found[0])
        except BadValue as error:
            raise self.wrong(row, column, str(error)) from None
        return self.settled(row, column, value)

    def _plain(self, scalar: Any) -> Any:
        """A value as JSON or Python has it. Raises BadValue.

        Times are counted from 1970 here. Python's own conversion ends at the year 9999, and needs to know the time zone, which does not
        change a point in time."""
        arrow = self._arrow
        if not scalar.is_valid:
            return None
        if isinstance(scalar, arrow.DictionaryScalar):
            return self._plain(scalar.value)
        if isinstance(scalar, arrow.TimestampScalar):
            return _since_1970(scalar.value, scalar.type.unit)
        if isinstance(scalar, (arrow.Date32Scalar, arrow.Date64Scalar)):
            return _since_1970(scalar.value, "days" if isinstance(scalar, arrow.Date32Scalar) else "ms").date()
        value = scalar.as_py()
        if isinstance(value, Decimal):
            return int(value) if value == value.to_integral_value() else float(value)
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError as error:
                raise BadValue(_not_utf8("text", error)) from None
        return value


def _since_1970(count: int, unit: str) -> datetime:
    """In UTC. unit: days, or one of Arrow's: s, ms, us, ns. Raises BadValue."""
    try:
        if unit == "days":
            return _EPOCH + timedelta(days=count)
        return _EPOCH + timedelta(microseconds=count // 1000 if unit == "ns" else count * _MICROSECONDS[unit])
    except OverflowError:
        raise BadValue(f"expected a date and time of the years 1 to 9999, got {count} {unit} since 1970") from None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}  # in Arrow's units of time


def arrow_record(values: dict[str, Any]) -> bytes:
    """A record as ArrowReader takes it. Raises ImportError without pyarrow."""
    import pyarrow
    import pyarrow.ipc

    batch = pyarrow.RecordBatch.from_pylist([values])
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


READERS: dict[int, type[Reader]] = {
    options.Columns.JSON: JsonReader,
    options.Columns.CSV: CsvReader,
    options.Columns.ARROW: ArrowReader,
    options.Columns.TENSORS: TensorReader,
}


def _not_finite(view: memoryview, place: int) -> str:
    """That a NaN or an infinity is there, in words; "" where none is."""
    for at in range(max(0, place - 2), place + 1):
        if found := _NOT_FINITE.match(view, at):
            others = "" if found[1].lower() == b"nan" else "; infinities need the format CSV, ARROW or TENSORS"
            return f"{found[0].decode()} at byte {at} is not a JSON value: send null for a missing value{others}"
    return ""


def _not_utf8(what: str, error: UnicodeDecodeError) -> str:
    return f"expected {what} in UTF-8, and byte {error.start} is none: encode it as UTF-8"


def quoted(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:40] + "...")


def listed(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
