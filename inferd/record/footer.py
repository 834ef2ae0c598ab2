"""How large the row groups of a Parquet file become, before they are read: a few bytes of a dictionary may stand for any number of values.

The footer is a struct FileMetaData (parquet.thrift) in Thrift's compact protocol. pyarrow could say the same, but there a damaged column
ends the process. Its own reader has checked the footer's bytes before. Never in here: Parquet's pages, what a file holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["group_nbytes"]

Struct: TypeAlias = "dict[int, Any]"  # fields by their numbers

TAIL_NBYTES = 8  # the footer's length and PAR1
ROW_GROUPS = 4  # of FileMetaData
COLUMNS, TOTAL_BYTE_SIZE = 1, 2  # of RowGroup
META_DATA = 3  # of ColumnChunk
TYPE, ENCODINGS, NUM_VALUES, TOTAL_UNCOMPRESSED_SIZE = 1, 2, 5, 6  # of ColumnMetaData
VALUE_NBYTES = {0: 1, 1: 4, 2: 8, 4: 4, 5: 8}  # of BOOLEAN, INT32, INT64, FLOAT, DOUBLE
UNSHARED = frozenset((0, 3, 4))  # PLAIN, RLE, BIT_PACKED: encodings in which each text stands in full

STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12  # Thrift's types; others are numbers


def group_nbytes(path: Path) -> list[int]:
    """Of each row group: what its columns take at most as Parquet's values. path: a file that pyarrow could open. Raises OSError, and
    ValueError where the footer is damaged."""
    with path.open("rb") as file:
        size = file.seek(-TAIL_NBYTES, 2)
        nbytes = int.from_bytes(file.read(4), "little")
        file.seek(max(size - nbytes, 0))
        footer = _Footer(file.read(nbytes))
    try:
        return [
            max(group[TOTAL_BYTE_SIZE], sum(max(_column_nbytes(column[META_DATA]), 0) for column in group[COLUMNS]))
            for group in footer.struct()[ROW_GROUPS]
        ]
    except (LookupError, TypeError):  # it ends early, or a field is missing or of another type
        raise ValueError("its footer is damaged") from None


def _column_nbytes(column: Struct) -> int:
    if column[TYPE] in VALUE_NBYTES:
        return int(column[NUM_VALUES] * VALUE_NBYTES[column[TYPE]])
    return int(column[TOTAL_UNCOMPRESSED_SIZE] * (1 if UNSHARED.issuperset(column[ENCODINGS]) else column[NUM_VALUES]))


class _Footer:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != STOP:
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._number()
            if number in fields:  # pyarrow's reader might take the other one
                raise ValueError(f"its footer has field {number} twice")
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind == STRUCT:
            return self.struct()
        if kind in (LIST, SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15) for _ in range(count)]
        if kind == MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(count)]
        if kind in (BINARY, DOUBLE):
            nbytes = self._varint() if kind == BINARY else 8
            self._at += nbytes
            return None
        return self._byte() if kind in (TRUE, FALSE, BYTE) else self._number()

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) >= 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _number(self) -> int:
        """Signed, in zigzag."""
        value = self._varint()
        return value >> 1 ^ -(value & 1)
