"""Settings of the feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from inferd.config.field import about
from inferd.config.part_settings import PartSettings
from inferd.config.share import Share, spelled
from inferd.config.units import GiB, MiB, TiB
from inferd.feedback.memory import most_bytes

if TYPE_CHECKING:
    from inferd.config.server_settings import ServerSettings

DAY_S = 86_400


class Settings(PartSettings, frozen=True, kw_only=True):
    feedback: Annotated[
        str | None,
        about("feedback", file=True),
        "Folder where the server keeps predictions, so that labels can join them. It is made if it is not there. `inferd feedback` sends "
        "labels, and `inferd performance` shows what they say of a model.",
    ] = None
    feedback_limit_bytes: Annotated[
        int,
        about("feedback", ge=64 * MiB, le=1024 * TiB),
        "Most bytes of predictions and labels; the oldest are deleted. The file never shrinks, and has a log of some MiB beside it.",
    ] = 4 * GiB
    feedback_keep_s: Annotated[
        int, about("feedback", ge=60, le=3660 * DAY_S), "Age at which a prediction is deleted. Its labels go with it."
    ] = 30 * DAY_S
    feedback_slices: Annotated[
        tuple[str, ...],
        about("feedback", items="names of inputs"),
        "Inputs by whose values `inferd performance --slice` divides rows. Text, whole numbers or truth values, one a row. They are kept "
        "beside the predictions.",
    ] = ()

    @classmethod
    def shares(cls, settings: ServerSettings, workers: int) -> list[Share]:
        if settings.of(cls).feedback is None:
            return []
        each = most_bytes(settings.message_memory_bytes // workers)
        return [Share("feedback", each * workers, f"{workers} x {spelled(each)}: requests, predictions of a transaction, SQLite's cache")]
