"""Every method that the protocol has is either served or said to be not built, with what to use instead."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from inferd.protocol import SERVICES, inference
from inferd.serving.inspection import SERVICE, Inspection
from inferd.serving.unserved import INSTEAD, MAX_ANSWERED, MAX_NAME_CHARS, MAX_STREAMED_BYTES, STREAM_INFER, unserved
from tests import models
from tests.fake_repository import FakeRepository
from tests.server_fixtures import LIMIT_S, TRANSPORTS, ServerFixture


def test_every_method_is_served_or_has_an_answer() -> None:
    served = {name.rpartition("/")[2] for name in Inspection(FakeRepository(), "", lambda: True).methods()}  # type: ignore[arg-type]
    assert served | {"ModelInfer"} | set(INSTEAD) == set(SERVICES[SERVICE].methods_by_name)
    assert not served & set(INSTEAD)


@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_the_answer_names_the_method_and_the_cure(name: str) -> None:
    assert str(unserved(f"/{SERVICE}/{name}")) == f"{name} is not built into this server: {INSTEAD[name]}"


@pytest.mark.parametrize("method", ["", "/", "/a/b", "ModelStreamInfer", "/other.Service/ModelStreamInfer", "/x/" + "y" * 10_000])
def test_other_methods_are_named_and_cut(method: str) -> None:
    error = unserved(method)
    assert error.code == 12
    assert f'"{method[:MAX_NAME_CHARS]}"' in str(error)
    assert len(str(error)) < 2 * MAX_NAME_CHARS


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stream_has_an_error_for_each_of_its_first_requests_and_a_status(tmp_path: Path, transport: str) -> None:
    """Whatever the requests hold; one that is too large, or none, ends the stream at once."""
    request = inference.ModelInferRequest(model_name="m", id="7")
    long = inference.ModelInferRequest(model_name="m", id="8")
    long.inputs.add(name="x", datatype="INT32", shape=(30_000,)).contents.int_contents.extend(range(30_000))
    too_large = inference.ModelInferRequest(raw_input_contents=[bytes(MAX_STREAMED_BYTES)])
    words = f"ModelStreamInfer is not built into this server: {INSTEAD['ModelStreamInfer']}"
    with (
        ServerFixture(models.write(tmp_path, "m", models.identity()), transport=transport) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        ask = channel.stream_stream(
            STREAM_INFER, inference.ModelInferRequest.SerializeToString, inference.ModelStreamInferResponse.FromString
        )

        def answers(*requests: inference.ModelInferRequest) -> tuple[list[tuple[str, str]], str]:
            found, status = [], ""
            try:
                found.extend((each.infer_response.id, each.error_message) for each in ask(iter(requests), timeout=LIMIT_S))
            except grpc.RpcError as error:
                status = error.code().name
            return found, status

        assert answers(request, long, request) == ([("7", words), ("", words), ("7", words)], "UNIMPLEMENTED")
        assert answers(*[request] * 1000) == ([("7", words)] * MAX_ANSWERED, "UNIMPLEMENTED")
        assert answers() == ([], "UNIMPLEMENTED")
        assert answers(request, too_large)[1] == "RESOURCE_EXHAUSTED", "at once: before the first response, perhaps"
