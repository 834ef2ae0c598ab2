"""Requests of a record, sent again: to the model that they were for, or to another that takes them, at their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.bench import trace
from inferd.bench.inputs import make
from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.targets import Description
from inferd.errors import ConfigError
from inferd.protocol import inference
from inferd.record.changes import changes_of
from tests.record.records import OFFSET_NS, columns, record, tapped

DESCRIPTION = Description("double", "2", (Spec("x", "FP32", (-1, 4)),), ())


def refusal(path: Path, description: Description = DESCRIPTION) -> str:
    with pytest.raises(ConfigError) as caught:
        make(description, recorded=str(path))
    return str(caught.value)


def test_requests_are_sent_as_they_came(tmp_path: Path) -> None:
    record(tmp_path, columns(tapped("a", 3), tapped("b", 4, 2), tapped(model="other")))
    made = make(DESCRIPTION, recorded=str(tmp_path))
    first, second = map(inference.ModelInferRequest.FromString, made.bodies)
    assert (first.model_name, first.model_version, list(second.inputs[0].shape)) == ("double", "2", [2, 4])
    assert first.raw_input_contents[0] == np.full((1, 4), 3, np.float32).tobytes()
    assert len(make(DESCRIPTION, recorded=str(tmp_path), count=1).bodies) == 1


def test_the_record_of_another_model(tmp_path: Path) -> None:
    record(tmp_path / "one", columns(tapped(model="old")))
    made = make(DESCRIPTION, recorded=str(tmp_path / "one"))
    assert "the requests were recorded of the model old" in made.notices
    record(tmp_path / "two", columns(tapped(model="a"), tapped(model="b")))
    assert "expected requests of the model 'double', got a record of: a (1), b (1)" in refusal(tmp_path / "two")
    other = Description("double", "", (Spec("x", "INT64", (-1, 4)),), ())
    assert "has the input x (FP32); the model (the record is of old) takes: x (INT64" in refusal(tmp_path / "one", other)


@pytest.mark.parametrize(("omit", "hash_", "message"), [(["x"], [], "was left out"), ([], ["x"], "was hashed")])
def test_what_is_not_in_the_record_cannot_be_sent(omit: list[str], hash_: list[str], message: str, tmp_path: Path) -> None:
    changes, changed = changes_of(omit, hash_, b"k" * 64), dict.fromkeys(omit, "omit") | dict.fromkeys(hash_, "hash")
    file = record(tmp_path, columns(tapped(), changes=changes), changed=changed)
    assert f"the input x {message} when it was recorded: such requests cannot be sent again" in refusal(file)


def test_arrivals(tmp_path: Path) -> None:
    made = columns(tapped())
    for at_ns, model in ((3_000, "double"), (1_000, "double"), (7_000, "other")):
        request = tapped(model=model)
        made.add(request, OFFSET_NS + at_ns - request.received_ns, None)
    record(tmp_path, made)
    assert trace.read(f"{tmp_path}:double").tolist() == [0, 1_000, 3_000]
    with pytest.raises(ConfigError, match=r"expected requests of one model; name it with trace:PATH:MODEL, got a record of: double"):
        trace.read(str(tmp_path))
    with pytest.raises(ConfigError, match="holds no arrival of the model third"):
        trace.read(f"{tmp_path}:third")
