"""One column of a table: the values that it takes, the stand-in for missing ones, and the numbers or text that they become.

    parse     a field of CSV -> a value; None where it is one of those that say that there is none
    read      any other text (of a tensor, `missing` or `allowed` of the configuration) -> a value
    settle    any value that a format gives -> one that convert takes: of the column's type, in range; None where one is missing
    convert   a settled value -> features: one number or text, or several numbers (parts of a date)

A value that cannot be used is BadValue, with the reason. Never in here: formats, rows, arrays.
"""

from __future__ import annotations

import difflib
import math
import struct
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from inferd._core.codec.records import murmur3
from inferd.protocol import options

if TYPE_CHECKING:
    from inferd.protocol.options import Column as Written

Features = tuple[Any, ...]  # numbers, or one text

# The datatypes of a graph's input that columns can feed: what kinds of features each takes.
FIXED = {
    "FP32": ("float", "int", "bool"),
    "FP64": ("float", "int", "bool"),
    "INT64": ("int", "bool"),
    "INT32": ("int", "bool"),
    "BOOL": ("bool",),
    "BYTES": ("text",),
}
# Words that pandas.read_csv takes for a missing value by default, beside an empty field.
MISSING_WORDS = frozenset(("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"))
MISSING_WORDS |= {"NULL", "NaN", "None", "n/a", "nan", "null"}
_INTEGERS = {"INT64": 63, "INT32": 31}  # bits of the largest number
_BEYOND_FP32 = float.fromhex("0x1.ffffffp+127")  # the least that FP32 rounds to infinity
_FP32 = struct.Struct("=f")
_EXACT = 2.0**53  # below it FP64 has every whole number; this one may have been the next, which it was rounded to
_SHOWN_CHARACTERS = 40
_MEANT_NAMES, _MEANT_CHARACTERS = 16, 64  # among which one that was meant is looked for, and of each: that takes time
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WANTED = {
    "FP32": "a number",
    "FP64": "a number",
    "INT64": "a whole number",
    "BOOL": "true or false",
    "BYTES": "a text",
    "date": "a date and time (ISO 8601, such as 2024-05-01T12:30:00Z, or seconds since 1970)",
}


class BadValue(Exception):
    """Why a value cannot be used."""


class Column:
    """See the module. kind: of its features (see FIXED); names: of them, more than one for the parts of a date.

    wanted: what clients are to send, in words. plain: settled values that are there are the features themselves.
    """

    def __init__(
        self,
        name: str,
        datatype: str,
        kind: str,
        names: Sequence[str],
        encode: Callable[[Any], Features] | None,
        *,
        dated: bool = False,
        allow_infinity: bool = False,
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.kind = kind
        self.names = tuple(names)
        self.dated = dated
        self.is_text = datatype == "BYTES" and not dated
        self.plain = encode is None
        self.fills = False  # whether something stands in for missing values
        self.allow_absent = False  # whether a record may leave it out
        self.missing_words: frozenset[str] = frozenset()  # fields of CSV that say, beside an empty one, that a value is missing
        self.target = ""  # the datatype of the graph's input
        self._encode = encode or (lambda value: (value,))
        self._allow_infinity = allow_infinity
        self._allowed: dict[Any, Any] | None = None  # what is compared -> the value
        self._stand_in: Features = ()
        self.wanted = _WANTED["date" if dated else datatype]
        # Floats between these need no further look. None where they are not what is sent.
        self._largest = 3.4e38 if datatype in ("FP32", "FP64") and not dated else 0.0
        self._smallest = -self._largest

    def aim(self, target: str, missing: str | None, allowed: Iterable[str]) -> None:
        """Sets the graph's datatype for the column, and `missing` and `allowed` of the configuration. Raises BadValue."""
        if self.kind not in FIXED.get(target, ()):
            takers = ", ".join(word for word, kinds in FIXED.items() if self.kind in kinds)
            raise BadValue(f"it gives {_A_KIND[self.kind]}, which go into {takers}, and the graph's input is {target}")
        self.target = target
        permitted = [self._permitted(number, text) for number, text in enumerate(allowed)]
        if permitted:
            self._allowed = {self._compared(value): value for value in permitted}
        if missing is not None:
            self._stand_in = self._standing_in(missing)
            self.fills = True
        self.plain = self.plain and not permitted

    def _permitted(self, number: int, text: str) -> Any:
        try:
            return self._settled(text)
        except BadValue as error:
            raise BadValue(f"allowed[{number}] is {_shown(text)}, which is itself rejected: {error}") from None

    def _settled(self, text: str) -> Any:
        value = text if self.is_text else self.read(text)
        if value is None or value != value:  # NaN
            raise BadValue(f"expected {self.wanted}, and it is no value")
        return self.settle(value)

    def _standing_in(self, text: str) -> Features:
        if self.kind != "text" and not self.dated and self.target in ("FP32", "FP64") and text.lower() == "nan":
            return (math.nan,) * len(self.names)
        try:
            return self._fit(self._encode(self._settled(text)))
        except BadValue as error:
            raise BadValue(f"missing is {_shown(text)}, which is itself rejected: {error}") from None

    def parse(self, field: str) -> Any:
        """The value of a field of CSV; None where it is empty or one of `missing_words`. Raises BadValue."""
        if field in self.missing_words:
            return None
        return field or None if self.is_text else self.read(field)

    def read(self, text: str) -> Any:
        """The value that a text stands for; None for an empty one. Raises BadValue."""
        if not text:
            return None
        if self.is_text:
            return text
        if self.dated:
            return _number_or_text(text)
        truth = self.datatype == "BOOL"
        value = _BOOLEANS.get(text.strip().lower()) if truth else _number(text, whole=self.datatype == "INT64")
        if value is None:
            raise BadValue(f"expected {self.wanted}, got {_shown(text)}")
        return value

    def settle(self, value: Any) -> Any:
        """See the module. `value`: None or NaN where there is none. Raises BadValue."""
        if type(value) is float and self._smallest < value < self._largest:
            return value
        if value is None or value != value:  # NaN
            if self.fills:
                return None
            raise BadValue(f"there is no value, and nothing stands in for one: send {self.wanted}")
        if not self._is_one(value):
            rounded = self.datatype == "INT64" and type(value) is float and value.is_integer()
            cure = ", which may have been rounded: send all of its digits, without a point or an exponent" if rounded else ""
            raise BadValue(f"expected {self.wanted}, got {_shown(value)}{cure}")
        if self.dated or self.datatype == "BYTES":
            return value
        if self.datatype == "BOOL":
            return bool(value)
        return self._whole(value) if self.datatype == "INT64" else self._in_range(value)

    def _is_one(self, value: Any) -> bool:
        """Whether it is of the column's type; of which bool, though Python says so, is no number."""
        kind = type(value)
        if self.dated:
            return kind in (str, int, float) or isinstance(value, date)
        if self.datatype == "BYTES":
            return kind is str
        if self.datatype == "BOOL":
            return kind is bool or (kind is int and value in (0, 1))
        if self.datatype == "INT64":
            return kind is int or (kind is float and value.is_integer() and abs(value) < _EXACT)
        return kind in (float, int)

    def _whole(self, value: float) -> int:
        bits = _INTEGERS.get(self.target, 63)
        number = int(value)
        if not -(1 << bits) <= number < 1 << bits:
            raise BadValue(f"expected {self.wanted} of {bits + 1} bits, got {_shown(value)}")
        return number

    def _in_range(self, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            raise BadValue("expected a number that FP64 can hold, up to 1.8e308, got a whole number of more than 308 digits") from None
        if not math.isfinite(number):
            if not self._allow_infinity:
                raise BadValue(f"expected a finite number, got {number!r}")
        elif self.target == "FP32" and abs(number) >= _BEYOND_FP32:
            raise BadValue(f"expected a number that FP32 can hold, up to 3.4e38, got {number!r}")
        return number

    def convert(self, value: Any) -> Features:
        """See the module. Raises BadValue."""
        if value is None:
            return self._stand_in
        if self._allowed is not None:
            known = self._allowed.get(self._compared(value))
            if known is None:
                listed = _listed(frozenset(self._allowed.values()))
                raise BadValue(f"{_shown(value)} is none of the {len(self._allowed)} values that the model knows: {listed}")
            value = known
        return self._fit(self._encode(value))

    def example(self, number: int) -> Features:
        """Features of an example; another number gives another one. It is one of the allowed values if only some are allowed. Else it is a
        small number or a text; number 0 gives zero or an empty text."""
        allowed = tuple((self._allowed or {}).values())
        for place in range(len(allowed)):
            with suppress(BadValue):  # by a vocabulary, say, that does not know it
                return self.convert(allowed[(number + place) % len(allowed)])
        return (str(number) if number else "",) if self.kind == "text" else (number % 2,) * len(self.names)

    @property
    def chooses(self) -> bool:
        """Whether only some values are allowed."""
        return self._allowed is not None

    def _compared(self, value: Any) -> Any:
        """The form in which a value is compared with allowed ones: rounded to FP32, which has no 0.1, where clients or the graph use it."""
        if self.kind != "float" or "FP32" not in (self.datatype, self.target) or abs(value) >= _BEYOND_FP32:
            return value
        return _FP32.unpack(_FP32.pack(value))[0]

    def _fit(self, features: Features) -> Features:
        if self.dated and self.target in _INTEGERS:
            bits = _INTEGERS[self.target]
            features = tuple(math.floor(feature) for feature in features)
            if any(not -(1 << bits) <= feature < 1 << bits for feature in features):
                raise BadValue(f"its seconds since 1970 do not fit {self.target}: send an earlier date")
        return features


_A_KIND = {"float": "numbers", "int": "whole numbers", "bool": "true or false", "text": "texts"}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def column_of(written: Written) -> Column:
    """The column of an entry of the configuration, not aimed yet. Raises BadValue."""
    column = _column_of(written)
    column.allow_absent = written.allow_absent
    if written.allow_absent and not written.HasField("missing"):
        raise BadValue("allow_absent is true, and nothing stands in for its value then: add `missing`, or remove allow_absent")
    if written.HasField("missing"):  # which value a word is then is said by listing it alone
        values = (*written.allowed, *written.vocabulary.values)
        column.missing_words = MISSING_WORDS if MISSING_WORDS.isdisjoint(values) else MISSING_WORDS.difference(values)
    return column


def _column_of(written: Written) -> Column:
    encoding = written.WhichOneof("encoding")
    datatype = written.datatype or ("BYTES" if encoding else "FP32")
    if datatype not in ("FP32", "FP64", "INT64", "BOOL", "BYTES"):
        raise BadValue(f"datatype is {datatype!r}; it must be FP32, FP64, INT64, BOOL or BYTES")
    if encoding in ("vocabulary", "hash") and datatype != "BYTES":
        raise BadValue(f"{encoding} takes text, and datatype is {datatype}: leave it out, or set it to BYTES")
    if written.allow_infinity and datatype not in ("FP32", "FP64"):
        raise BadValue(f"allow_infinity is for FP32 and FP64, and datatype is {datatype}: remove it")
    if encoding == "vocabulary":
        return Column(written.name, datatype, "int", [written.name], _vocabulary(written.vocabulary))
    if encoding == "hash":
        return Column(written.name, datatype, "int", [written.name], _hash(written.hash.buckets))
    if encoding == "date_time":
        if datatype not in ("BYTES", "INT64", "FP64"):
            raise BadValue(f"date_time takes BYTES, INT64 or FP64, and datatype is {datatype}, which does not hold a date")
        names, encode = _date_time(written.name, written.date_time.parts)
        return Column(written.name, datatype, "int", names, encode, dated=True)
    kind = {"INT64": "int", "BOOL": "bool", "BYTES": "text"}.get(datatype, "float")
    return Column(written.name, datatype, kind, [written.name], None, allow_infinity=written.allow_infinity)


def _vocabulary(written: options.Vocabulary) -> Callable[[str], Features]:
    places = {text: (place,) for place, text in enumerate(written.values)}
    if not places:
        raise BadValue("vocabulary has no values: list them")
    if len(places) < len(written.values):
        twice = next(text for text in written.values if list(written.values).count(text) > 1)
        raise BadValue(f"vocabulary holds {_shown(twice)} twice")
    unseen = (written.unseen,) if written.HasField("unseen") else None
    if not -(1 << 31) <= written.unseen < 1 << 31:
        raise BadValue(f"unseen is {written.unseen}; it must be a number of 32 bits")

    def encode(text: str) -> Features:
        found = places.get(text, unseen)
        if found is None:
            raise BadValue(f"{_shown(text)} is none of the {len(places)} values that the model knows: {_listed(places)}")
        return found

    return encode


def _hash(buckets: int) -> Callable[[str], Features]:
    if not 1 <= buckets < 1 << 31:
        raise BadValue(f"hash has {buckets} buckets; it must have 1 to {(1 << 31) - 1}")
    # scikit-learn's FeatureHasher: the absolute value, whose one case that 32 bits lack it counts back from the largest number.
    lowest = ((1 << 31) - 1 - (buckets - 1)) % buckets

    def encode(text: str) -> Features:
        number = murmur3(text.encode())
        return (lowest if number == -(1 << 31) else abs(number) % buckets,)

    return encode


def _date_time(name: str, parts: Sequence[options.DateTime.Part]) -> tuple[list[str], Callable[[Any], Features]]:
    if not parts:
        raise BadValue("date_time has no parts: list them, such as HOUR and WEEKDAY")
    words = [options.DateTime.Part.Name(part) for part in parts]
    found = [_PARTS[word] for word in words]

    def encode(value: Any) -> Features:
        when = _moment(value)
        return tuple(part(when) for part in found)

    return [f"{name}.{word.lower()}" for word in words], encode


_PARTS: dict[str, Callable[[datetime], float]] = {
    "YEAR": lambda when: when.year,
    "MONTH": lambda when: when.month,
    "DAY": lambda when: when.day,
    "HOUR": lambda when: when.hour,
    "MINUTE": lambda when: when.minute,
    "SECOND": lambda when: when.second,
    "WEEKDAY": lambda when: when.weekday(),
    "DAY_OF_YEAR": lambda when: (when.date() - date(when.year, 1, 1)).days + 1,
    "EPOCH_SECONDS": lambda when: (when - _EPOCH).total_seconds(),
}


def _moment(value: str | float | date) -> datetime:
    """A date and time in UTC; one without a zone is in UTC already."""
    try:
        if isinstance(value, (int, float)):
            return _EPOCH + timedelta(seconds=value)
        if isinstance(value, str):
            when = datetime.fromisoformat(value.strip())
        else:
            when = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue(f"expected {_WANTED['date']} of the years 1 to 9999, got {_shown(value)}") from None


def twin_of(name: str, found: Iterable[str]) -> str:
    """That one of these names is the column's, to the eye alone, and the cure; '' where none is, or the column is there."""
    if name.isascii():
        return ""
    names = set(found)
    form = unicodedata.normalize("NFC", name)
    twin = next((other for other in names if not other.isascii() and unicodedata.normalize("NFC", other) == form), None)
    if twin is None or name in names:
        return ""
    told, wanted = ascii(twin), ascii(name)
    return f"its name came in another Unicode normal form, {told:.80} and not {wanted:.80}: write it as the model does"


def meant_by(name: str, found: Iterable[str]) -> str:
    """The one of these names that looks like the column's; '' where none does."""
    names = {other.casefold(): other for other in islice(found, _MEANT_NAMES) if len(other) <= _MEANT_CHARACTERS}
    near = difflib.get_close_matches(name.casefold(), names, 1)
    return names[near[0]] if near else ""


def _number(text: str, *, whole: bool) -> float | None:
    """A decimal number as JSON and spreadsheets write it, or None. Python reads more: 1_000, and digits of other scripts. Raises BadValue
    for one that FP64 cannot hold, which Python reads as infinity."""
    if not text.isascii() or "_" in text:
        return None
    if whole:
        try:
            return int(text)
        except ValueError:
            pass  # 1.0: settle knows whether it is whole
    try:
        number = float(text)
    except ValueError:
        return None
    if math.isinf(number) and any(map(str.isdigit, text)):
        raise BadValue(f"expected a number that FP64 can hold, up to 1.8e308, got {_shown(text)}")
    return number


def _number_or_text(text: str) -> float | str:
    """Seconds since the epoch, or what may be ISO 8601: eight digits are a date, and four a year, which is none."""
    digits = text.strip()
    if len(digits) in (4, 8) and digits.isdecimal():
        return text
    number = _number(digits, whole=False)
    return text if number is None else number


def _shown(value: Any) -> str:
    """A value as JSON has it, short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a whole number of more than 64 bits"
    if isinstance(value, (str, int, float, date)):
        text = repr(value) if isinstance(value, (str, int, float)) else value.isoformat()
        return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return f"a value of type {type(value).__name__}"


def _listed(values: Iterable[Any]) -> str:
    ordered = sorted(values, key=str) if isinstance(values, frozenset) else list(values)
    return ", ".join(map(_shown, ordered[:5])) + (", ..." if len(ordered) > 5 else "")
