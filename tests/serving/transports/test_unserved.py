"""Every method that the protocol has is either served or said to be not built, with what to use instead."""

from __future__ import annotations

from typing import Any

import pytest

from inferd.protocol import SERVICES
from inferd.serving.parts.inspection.rpc import SERVICE, Inspection
from inferd.serving.parts.live_settings.rpc import LiveSettings
from inferd.serving.parts.model_control.rpc import ModelControl
from inferd.serving.transports.unserved import INSTEAD, MAX_NAME_CHARS, unserved
from tests.fake_repository import FakeRepository


def test_every_method_is_served_or_has_an_answer() -> None:
    repository: Any = FakeRepository()
    methods = Inspection(repository, "", lambda: True).methods() | LiveSettings(repository).methods() | ModelControl().methods()
    served = {name.rpartition("/")[2] for name in methods if name.startswith(f"/{SERVICE}/")}
    assert served | {"ModelInfer", "ModelStreamInfer"} | set(INSTEAD) == set(SERVICES[SERVICE].methods_by_name)
    assert not served & set(INSTEAD)


@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_the_answer_names_the_method_and_the_cure(name: str) -> None:
    assert str(unserved(f"/{SERVICE}/{name}")) == f"{name} is not built into this server: {INSTEAD[name]}"


@pytest.mark.parametrize("method", ["", "/", "/a/b", "LogSettings", "/other.Service/LogSettings", "/x/" + "y" * 10_000])
def test_other_methods_are_named_and_cut(method: str) -> None:
    error = unserved(method)
    assert error.code == 12
    assert f'"{method[:MAX_NAME_CHARS]}"' in str(error)
    assert len(str(error)) < 2 * MAX_NAME_CHARS
