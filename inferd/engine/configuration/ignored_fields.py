"""Fields of a configuration that have no effect here. Never in here: fields that are rejected (unsupported.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.engine.configuration.resources import gpu_providers
from inferd.engine.configuration.unsupported import ignored
from inferd.engine.runtime.runtimes import runtime_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.engine.configuration.config_sources import Defaults, Written


def ignored_fields(written: Written, defaults: Defaults) -> Iterator[tuple[str, str]]:
    """Fields without an effect, each with the reason or a replacement. The model is served all the same."""
    on_cpu = not gpu_providers(written.config, defaults)
    yield from ignored(written.config, on_cpu=on_cpu)
    for key, why in runtime_of(written.config).ignored_parameters(written.config, on_cpu=on_cpu):
        yield f"parameters[{key!r}]", why
