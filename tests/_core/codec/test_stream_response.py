"""ModelStreamInferResponse against protobuf: a response in one, and an error in band, whatever the request holds."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.grpc.message import Message
from inferd._core.inference.path import ModelInfer, ModelStreamInfer
from inferd._core.inference.routes import Routes
from inferd.errors import NotFound
from inferd.protocol import inference as pb


def find(name: str, version: str) -> object:
    raise NotFound(name)


HANDLER = ModelStreamInfer(ModelInfer(Routes(), find))  # type: ignore[arg-type]


@pytest.mark.parametrize("nbytes", [0, 1, 80, 90, 100, 127, 128, 16_340, 16_384, 70_000, 3_000_000])
def test_a_response_is_wrapped_where_it_lies(nbytes: int) -> None:
    response = pb.ModelInferResponse(model_name="m", id="7", raw_output_contents=[bytes(nbytes)])
    message = Message(response.SerializeToString())
    wrapped = HANDLER.wrap(message)
    assert wrapped is message
    response.parameters["triton_final_response"].bool_param = True
    assert pb.ModelStreamInferResponse.FromString(bytes(wrapped)) == pb.ModelStreamInferResponse(infer_response=response)


REQUEST = pb.ModelInferRequest(model_name="modèle", id="ä7", raw_input_contents=[b"x" * 300]).SerializeToString()


@given(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(st.integers(0, len(REQUEST)), st.binary(max_size=4)).map(lambda cut: REQUEST[: cut[0]] + cut[1] + REQUEST[cut[0] :]),
    ),
    st.text(max_size=200),
)
def test_an_error_names_the_request_as_far_as_it_can_be_read(content: bytes, text: str) -> None:
    told = pb.ModelStreamInferResponse.FromString(bytes(HANDLER.rejection(Message(content), NotFound(text))))
    assert told.error_message == text
    assert told.infer_response.parameters["triton_final_response"].bool_param
    try:
        request = pb.ModelInferRequest.FromString(content)
    except DecodeError:
        return
    assert (told.infer_response.model_name, told.infer_response.id) == (request.model_name, request.id)
