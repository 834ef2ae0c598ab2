"""A CSV file with a header as a model's records: JSON, lines of CSV or Arrow, or a tensor a column.

A cell is read by its column's declared type and the server's own rules for CSV (steps/columns.py). A file so means the same to every
model. A cell of an undeclared column stays text. A cell that cannot be read is rejected by line and column, never guessed.
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.client_inputs.files import read_whole
from inferd.errors import ConfigError
from inferd.steps.columns import BadValue, Column, column_of, meant_by, twin_of
from inferd.steps.csv_lines import read_csv, write_csv

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from inferd.client_inputs.inputs import Spec
    from inferd.client_inputs.targets import Description

MAX_FILE_BYTES = 1 << 30
EXACT = 2.0**53  # below it a float has every whole number; this one may have been the next, which it was rounded to


class Table(NamedTuple):
    """A file's content. where: what messages begin with. lines: the number of each in the file, and its cells."""

    where: str
    header: list[str]
    lines: list[tuple[int, list[str]]]

    def reject(self, line: int, name: str, why: str) -> ConfigError:
        return ConfigError(f"{self.where}, line {line}: column {name!r}: {why}")


def from_csv(option: str, source: str, description: Description) -> dict[str, list[Any]]:
    """The rows of a CSV file by the input that they are for: records as bytes, or values of the columns that are inputs."""
    records = {name: step.columns for name, step in description.readers().items() if step.HasField("columns")}
    written = [*description.columns(), *(column for step in records.values() for column in step.columns)]
    declared = {column.name: column for column in written}
    table = _table(f"{option} {source}", source)
    if records:
        return {name: _records(table, step) for name, step in records.items()}
    _reject_wrong_names(table, [spec.name for spec in description.inputs])
    return {spec.name: _tensor(table, spec, declared.get(spec.name)) for spec in description.inputs}


def _reject_wrong_names(table: Table, names: Sequence[str], may_be_absent: Container[str] = ()) -> None:
    """Rejects a file that lacks a column. names: of the model's columns."""
    others = [found for found in table.header if found not in names]
    for name in names:
        if name in table.header:
            continue
        if why := twin_of(name, others):
            raise ConfigError(f"{table.where}: column {name!r}: {why}")
        if name not in may_be_absent:
            near = meant_by(name, others)
            none = f", and {near!r} is none of the model's" if near else ""
            raise ConfigError(f"{table.where}: column {name!r} is missing{none}; it has {', '.join(map(repr, table.header))}")


def _table(where: str, source: str) -> Table:
    content = read_whole(source, where, MAX_FILE_BYTES, "a request holds no more")
    try:
        records = read_csv(io.StringIO(content.decode("utf-8-sig"), newline=""))
        _, header = next(records, (0, []))
        rows = list(records)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: expected UTF-8 text, values between commas: {error}") from None
    if not rows:
        raise ConfigError(f"{where}: expected a header with the columns' names and at least one line below it")
    for name in header:
        if header.count(name) > 1:
            raise ConfigError(f"{where}: column {name!r} is there twice")
    for number, cells in rows:
        if len(cells) != len(header):
            raise ConfigError(f"{where}, line {number}: expected {len(header)} values, as the header has, got {len(cells)}")
    return Table(where, header, rows)


# ---------------------------------------------------------------------------------------------------------------------
# Whole records


def _records(table: Table, step: Any) -> list[bytes]:
    """Each line as one record. `step`: what reads it, a Columns message."""
    form = step.Format.Name(step.format)
    names = [column.name for column in step.columns]
    _reject_wrong_names(table, names, {column.name for column in step.columns if column.allow_absent})
    if form == "CSV":  # the model's columns in its order, each cell as it stands
        places = [table.header.index(name) for name in names]
        return [write_csv([cells[place] for place in places]).encode() for _, cells in table.lines]
    columns = {written.name: _column(table, written) for written in step.columns}
    write = {"JSON": _json, "ARROW": _arrow}[form]
    records = []
    for number, cells in table.lines:
        values = {
            name: _value(table, number, columns[name], cell) if name in columns else cell
            for name, cell in zip(table.header, cells, strict=True)
        }
        records.append(write(table, number, values))
    return records


def _json(table: Table, number: int, values: dict[str, Any]) -> bytes:
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            if not math.isnan(value):
                raise table.reject(number, name, "the model takes JSON, which has no infinity")
            values[name] = None
    return json.dumps(values, ensure_ascii=False).encode()


def _arrow(table: Table, number: int, values: dict[str, Any]) -> bytes:
    for name, value in values.items():
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise table.reject(number, name, "expected a whole number of 64 bits, got a longer one")
    try:
        from inferd.steps.records import arrow_record

        return arrow_record(values)
    except ImportError:
        raise ConfigError(f"{table.where}: the model takes Arrow records, which pyarrow writes: pip install 'inferd[table]'") from None


# ---------------------------------------------------------------------------------------------------------------------
# A tensor a column


def _tensor(table: Table, spec: Spec, written: Any) -> list[Any]:
    """The column that has the input's name. `written`: how it is declared, a Column message, or None."""
    place = table.header.index(spec.name)
    column = _of_datatype(spec) if written is None else _column(table, written)
    if spec.datatype == "BYTES":
        return [b"" if cells[place] in column.missing_words else cells[place].encode() for _, cells in table.lines]
    stand_in = written.missing if written is not None and written.HasField("missing") else ""
    read = _float if spec.datatype.startswith(("FP", "BF")) else _whole
    values = []
    for number, cells in table.lines:
        value = read(table, number, column, cells[place], stand_in)
        if isinstance(value, str):
            raise table.reject(number, spec.name, f"expected seconds since 1970, which the model takes as {spec.datatype}, got {value!r}")
        values.append(value)
    return values


def _of_datatype(spec: Spec) -> Column:
    """A column of an input that no step makes."""
    datatype = "BOOL" if spec.datatype == "BOOL" else "FP64" if spec.datatype.startswith(("FP", "BF")) else "INT64"
    return Column(spec.name, datatype, "", [spec.name], None)


def _float(table: Table, line: int, column: Column, cell: str, stand_in: str) -> Any:
    """A number, NaN where there is none; or the text of a date."""
    value = _value(table, line, column, cell)
    return math.nan if value is None else value


def _whole(table: Table, line: int, column: Column, cell: str, stand_in: str) -> Any:
    """A whole number or truth value; or the text of a date. A tensor of such has no value for a missing one: it is sent as what the
    server has stand in for it."""
    value = _value(table, line, column, cell)
    if value is None or value != value:
        value = _value(table, line, column, stand_in)
    if value is None or value != value:
        raise table.reject(line, column.name, f"a tensor of {column.datatype} cannot say that a value is missing; give one")
    if not isinstance(value, float):
        return value
    if not value.is_integer() or abs(value) >= EXACT:
        raise table.reject(line, column.name, f"expected a whole number, got {cell!r}")
    return int(value)


# ---------------------------------------------------------------------------------------------------------------------
# Cells


def _column(table: Table, written: Any) -> Column:
    try:
        return column_of(written)
    except BadValue as error:  # a server that knows more than this program
        raise ConfigError(f"{table.where}: column {written.name!r} of the model: {error}") from None


def _value(table: Table, line: int, column: Column, cell: str) -> Any:
    """The cell's value; None where it says that there is none."""
    try:
        return column.parse(cell)
    except BadValue as error:
        raise table.reject(line, column.name, str(error)) from None
