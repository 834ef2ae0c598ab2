"""Lines of CSV (RFC 4180) as pandas reads them: which are records, and which fields they have. Never in here: what a field means."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

_BLANK = " \t\r\n"


def read_csv(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record, with the number of its last line. Raises csv.Error.

    As in pandas, a line of spaces and tabs is no record. A record that is one empty field is written in quotes."""
    record: list[str] = []  # its lines

    def kept() -> Iterator[str]:
        for line in lines:
            record.append(line)
            yield line

    reader = csv.reader(kept(), strict=True)
    for fields in reader:
        if len(fields) > 1 or any(line.strip(_BLANK) for line in record):
            yield reader.line_num, fields
        record.clear()


def write_csv(fields: Sequence[object]) -> str:
    """The line, without its end, that is read as these. Raises csv.Error."""
    line = io.StringIO()
    alone = len(fields) == 1 and not str(fields[0]).strip(_BLANK)
    # A field is quoted that holds a character of the line's end, which is taken off again.
    csv.writer(line, lineterminator="\r\n", quoting=csv.QUOTE_ALL if alone else csv.QUOTE_MINIMAL).writerow(fields)
    return line.getvalue().removesuffix("\r\n")
