"""A summary of each model for people, made when a server is ready. A worker sends it to its supervisor. Never in here: how it is shown
(inferd.cli.start_screen).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository

# The first step of an input -> the flag of `inferd infer` for its files or texts.
FLAGS = {"decode_image": "--image", "decode_audio": "--audio", "tokenize": "--text", "columns": "--csv"}


class ModelSummary(msgspec.Struct, frozen=True):
    """One version that is served or was skipped, or a model that is on demand or was skipped.

    inputs: name, datatype and shape of each, as requests have them. max_rows: of one batch; 0: requests share no run. flags: of
    `inferd infer`, for inputs that are files or texts.
    """

    name: str
    version: int = 0
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    batched: bool = False  # whether the first axis of each shape is the batch
    max_rows: int = 0
    place: str = ""  # where it runs
    flags: tuple[str, ...] = ()
    unserved: tuple[int, ...] = ()  # versions with files that are not served
    error: str = ""  # why it was skipped
    on_demand: bool = False


def summaries(repository: Repository) -> list[ModelSummary]:
    """All models: those in memory, those on demand, those that were skipped, also as a version of a model that is served."""
    entries = repository.entries()
    skipped = [ModelSummary(entry.name, error=entry.skipped) for entry in entries if entry.skipped]
    skipped += [ModelSummary(entry.name, version, error=why) for entry in entries if entry.models for version, why in entry.broken.items()]
    on_demand = [ModelSummary(name, on_demand=True) for name in sorted(repository.on_demand)]
    return [*(_summary(model, repository[model.name].unserved) for model in repository.models()), *on_demand, *skipped]


def _summary(model: Model, unserved: Sequence[int]) -> ModelSummary:
    from inferd.engine.configuration.batching import shares_runs  # it imports all that runs models, which a supervisor does not need

    config = model.config
    steps = [entry.steps[0].WhichOneof("step") for entry in config.inferd.preprocess if entry.steps]
    return ModelSummary(
        model.name,
        model.version,
        model.signature.input_specs,
        config.max_batch_size > 0,
        config.max_batch_size if config.max_batch_size > 1 and shares_runs(config) else 0,
        _place(model),
        tuple(dict.fromkeys(FLAGS[step] for step in steps if step in FLAGS)),
        tuple(unserved),
    )


def _place(model: Model) -> str:
    if model.inline:
        return "on the event loop"
    device = "GPU" if any(group.kind == group.KIND_GPU for group in model.config.instance_group) else "CPU"
    return f"{model.instances} x {device}" if model.instances > 1 else device
