"""A reference profile: what the inputs and outputs of a version are like in data that it is known to be right on.

It lies beside the version as Parquet, a row for each feature: `reference.parquet` in the version's folder, or `NAME.onnx.reference.parquet`
beside a single file. So it belongs to the version's files, and travels with them. docs/drift.md describes the columns. Never in here: how
it is learned (profiling.py), counting.
"""

from __future__ import annotations

import hashlib
import math
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from inferd._core.monitor.feature_counts import Reading, Side
from inferd.errors import ConfigError
from inferd.monitor.feature import WAVES, Feature, Kind
from inferd.monitor.watched import MAX_FEATURES
from inferd.record.form import arrow

if TYPE_CHECKING:
    from inferd._core.tensor.signature import Signature

FORMAT = 1
FORMAT_KEY, PROFILE_KEY = b"inferd.reference", b"inferd.profile"
NAME = "reference.parquet"
MAX_NBYTES = 64 << 20

Spec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape as Signature has it


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """rows: of the data. made_unix_ns: when it was learned. inputs, outputs: of the version that it was learned with, as clients see them.
    outlier_score: that of one row in a hundred of the data is higher."""

    model: str
    rows: int
    made_unix_ns: int
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    outlier_score: float = 0.0
    features: tuple[Feature, ...] = ()

    def check(self, signature: Signature) -> None:
        """Raises ConfigError where it is of another signature, or contradicts itself."""
        for feature in self.features:
            if why := _fault(feature):
                raise ConfigError(f"the feature '{feature.name:.100}': {why}: learn it anew with `inferd profile`")
        for what, own, theirs in (("input", self.inputs, signature.input_specs), ("output", self.outputs, signature.output_specs)):
            for one, other in zip(own, theirs, strict=False):
                if one != other:
                    raise ConfigError(f"expected the {what} {_said(other)}, got {_said(one)}: learn it anew with `inferd profile`")
            if len(own) != len(theirs):
                raise ConfigError(f"expected {len(theirs)} {what}s, got {len(own)}: learn it anew with `inferd profile`")

    @property
    def key(self) -> str:
        """Differs where counts of one cannot be added to those of another."""
        return hashlib.sha256(msgspec.msgpack.encode(self.features)).hexdigest()[:16]


def _fault(feature: Feature) -> str:
    """Why its fields do not go together; '': they do."""
    if not all(map(math.isfinite, (*feature.shares, *feature.means, *feature.covariance, feature.centre, feature.scale))):
        return "expected finite numbers"
    if not (0 <= feature.missing <= 1 and 0 <= feature.repeats <= 1 and feature.rows >= 0 and feature.scale > 0):
        return "expected shares from 0 to 1, rows of 0 or more, and a scale above 0"
    if feature.reading == Reading.WAVES:
        return "" if len(feature.means) == WAVES and len(feature.covariance) == WAVES**2 else f"expected {WAVES} means and their covariance"
    if feature.reading == Reading.ROW:
        return ""
    bins = len(feature.at) + 1
    if len(feature.shares) != bins or len(feature.scores) not in (0, bins + 1):
        return f"expected {bins} shares and {bins + 1} scores, got {len(feature.shares)} and {len(feature.scores)}"
    if feature.kind is Kind.RANGES and bins < 3:
        return f"expected two edges or more, got {bins - 1}"
    if feature.kind is Kind.TEXTS and len(feature.texts) != bins - 1:
        return f"expected {bins - 1} texts, got {len(feature.texts)}"
    return ""


def _said(spec: Spec) -> str:
    name, datatype, shape = spec
    return f"'{name}' {datatype}{list(shape)}"


def path_of(file: Path) -> Path:
    """Where the profile of a version lies. file: its ONNX file."""
    beside = file.with_name(f"{file.name}.{NAME}")
    in_folder = file.with_name(NAME)
    alone = not beside.exists() and (in_folder.exists() or file.parent.name.isdigit() or file.name == "model.onnx")
    return in_folder if alone else beside


def write(reference: Reference, path: Path) -> None:
    """Raises OSError, StartError."""
    pa = arrow("reference profiles")
    import pyarrow.parquet as parquet

    rows = [_row(feature) for feature in reference.features]
    profile = msgspec.json.encode(msgspec.structs.replace(reference, features=()))
    table = pa.Table.from_pylist(rows, pa.schema(_fields(pa)))
    temporary = path.with_name(f".{path.name}.part")
    try:
        parquet.write_table(
            table.replace_schema_metadata({FORMAT_KEY: str(FORMAT), PROFILE_KEY: profile}), str(temporary), compression="zstd"
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Reference:
    """Raises ConfigError, OSError, StartError."""
    pa = arrow("reference profiles")
    import pyarrow.parquet as parquet

    if (nbytes := path.stat().st_size) > MAX_NBYTES:
        raise ConfigError(f"{path.name}: expected at most {MAX_NBYTES >> 20} MiB, got {nbytes >> 20} MiB: it is no reference profile")
    try:
        with path.open("rb") as file:
            found = parquet.ParquetFile(file)
            _check_format(found.schema_arrow.metadata or {}, path.name)
            if found.metadata.num_rows > MAX_FEATURES:
                raise ConfigError(f"{path.name}: expected at most {MAX_FEATURES} features, got {found.metadata.num_rows}")
            profile = msgspec.json.decode(found.schema_arrow.metadata[PROFILE_KEY], type=Reference)
            features = [_feature(row) for row in found.read().to_pylist()]
    except (pa.ArrowException, msgspec.MsgspecError, KeyError) as error:
        raise ConfigError(f"{path.name}: it cannot be read as a reference profile: {error}") from None
    return msgspec.structs.replace(profile, features=tuple(features))


def _check_format(metadata: dict[bytes, bytes], name: str) -> None:
    told = metadata.get(FORMAT_KEY, b"").decode(errors="replace")
    if not told.isdecimal():
        raise ConfigError(f"{name}: expected a reference profile, got another Parquet file: `inferd profile` writes one")
    if int(told) > FORMAT:
        raise ConfigError(
            f"{name}: expected format {FORMAT} or older, got {told:.20}: upgrade inferd, or learn it anew with `inferd profile`"
        )


def _fields(pa: Any) -> list[Any]:
    """name is for people; the others are the fields of Feature."""
    kinds = {int: pa.int64(), float: pa.float64(), str: pa.string(), tuple[float, ...]: pa.list_(pa.float64())}
    kinds[tuple[str, ...]] = pa.list_(pa.string())
    return [
        pa.field("name", pa.string()),
        *(pa.field(each.name, kinds.get(each.type, pa.string())) for each in msgspec.structs.fields(Feature)),
    ]


def _row(feature: Feature) -> dict[str, Any]:
    told = msgspec.structs.asdict(feature)
    return {"name": feature.name} | {name: value.name if isinstance(value, IntEnum) else value for name, value in told.items()}


def _feature(row: dict[str, Any]) -> Feature:
    """Raises KeyError, ValidationError."""
    sides = {"side": Side[row["side"]], "reading": Reading[row["reading"]]}
    return msgspec.convert({name: value for name, value in (row | sides).items() if name != "name"}, Feature)
