"""Settings of the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from inferd.config.field import about
from inferd.config.part_settings import PartSettings
from inferd.config.share import Share, spelled
from inferd.config.units import GiB, MiB, TiB
from inferd.record.memory import most_bytes
from inferd.record.samples import parse_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd.config.server_settings import ServerSettings
    from inferd.errors import ConfigError


class Settings(PartSettings, frozen=True, kw_only=True):
    record: Annotated[
        str | None,
        about("record", file=True),
        "Folder where the server writes requests and responses. It is made if it is not there. `inferd record` shows and exports it. It "
        "needs the extra inferd[record].",
    ] = None
    record_sample: Annotated[
        tuple[str, ...],
        about("record", items="shares from 0 to 1, or MODEL=SHARE"),
        "Share of requests to record, such as 0.01; MODEL=0.1 for one model. Left out: all. Where only models are named, the others are "
        "not recorded.",
    ] = ()
    record_omit: Annotated[
        tuple[str, ...], about("record", items="names"), "Inputs and outputs to leave out of a record. Their names; of all models."
    ] = ()
    record_hash: Annotated[
        tuple[str, ...],
        about("record", items="names"),
        "Inputs and outputs to record as hashes. Their names; of all models. Each element becomes 16 hexadecimal digits, by the key of "
        "record_key_file.",
    ] = ()
    record_key_file: Annotated[
        str | None, about("record", file=True), "File with the key of record_hash, 16 bytes or more. `openssl rand -hex 32` makes one."
    ] = None
    record_segment_bytes: Annotated[
        int, about("record", ge=1 * MiB, le=1 * TiB), "Size at which a file of the record ends and another begins."
    ] = 256 * MiB
    record_segment_s: Annotated[int, about("record", ge=1, le=31_536_000), "Age at which a file of the record ends and another begins."] = (
        3600
    )
    record_limit_bytes: Annotated[
        int,
        about("record", ge=0, le=1024 * TiB),
        "Most bytes of the record's files; the oldest are deleted. All files of the folder that end in .arrow count. One that a server "
        "still writes is not deleted. 0: no limit.",
    ] = 10 * GiB

    @classmethod
    def check(cls, values: Mapping[str, Any], reject: Callable[[str, str], ConfigError]) -> None:
        try:
            parse_samples(values["record_sample"])
        except ValueError as error:
            raise reject("record_sample", str(error)) from None
        if values["record"] and values["record_hash"] and not values["record_key_file"]:
            raise reject("record_hash", "expected record_key_file, too, got none")
        if both := sorted({*values["record_omit"]} & {*values["record_hash"]}):
            raise reject("record_hash", f"expected names that record_omit does not have, got '{both[0]}' in both")

    @classmethod
    def shares(cls, settings: ServerSettings, workers: int) -> list[Share]:
        """The most that the recorders of all processes hold."""
        if settings.of(cls).record is None:
            return []
        each = most_bytes(settings.message_memory_bytes // workers)
        return [Share("record", each * workers, f"{workers} x {spelled(each)}: a batch, the largest request and pyarrow")]
