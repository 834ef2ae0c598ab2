"""The settings that a part of the server declares in its own folder. Never in here: which parts there are (inferd/parts.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd.config.server_settings import ServerSettings
    from inferd.config.share import Share
    from inferd.errors import ConfigError


class PartSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Fields are declared as those of ServerSettings are. No two parts have a setting of one name, for one table has them all.

    reloaded: those that a running server takes on SIGHUP.
    """

    reloaded: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def check(cls, values: Mapping[str, Any], reject: Callable[[str, str], ConfigError]) -> None:
        """values: of all settings. Raises what reject(name, why) makes where some contradict each other."""

    @classmethod
    def shares(cls, settings: ServerSettings, workers: int) -> list[Share]:
        """Lines of the memory budget. settings: with a number in place of each `auto`."""
        return []
