"""What fetch_models.py writes beside the models that it fetches; nothing is fetched here."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.fetch_models import SOURCES, Member
from inferd.engine.configuration.model_config import read_model_config


@pytest.mark.parametrize("source", [source for source in SOURCES if source.config], ids=lambda source: source.name)
def test_configurations_are_read(source, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(source.config, encoding="utf-8")
    own = read_model_config(tmp_path, source.name).config.inferd
    assert own.preprocess
    assert own.postprocess


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_package_has_a_version(source) -> None:
    members = [source.model, *(file for file in source.beside.values() if isinstance(file, Member))]
    assert all("==" in member.package for member in members)
