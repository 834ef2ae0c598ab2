"""Server reflection on both transports: a client that knows nothing of inferd builds its messages from the responses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from inferd.protocol import SERVICES, reflection_v1, reflection_v1alpha
from inferd.serving.parts.reflection.part import MAX_OPEN, Reflection
from tests.transport_fixtures import LIMIT_S, channel_to

VERSIONS = {"v1": reflection_v1, "v1alpha": reflection_v1alpha}


class Asking:
    """One open ServerReflectionInfo stream of one version."""

    def __init__(self, stream: Any, messages: Any) -> None:
        self.stream = stream
        self.messages = messages

    async def ask(self, **question: Any) -> Any:
        request = self.messages.ServerReflectionRequest(host="here", **question)
        await self.stream.write(request.SerializeToString())
        response = self.messages.ServerReflectionResponse.FromString(await self.stream.read())
        assert response.original_request == request
        assert response.valid_host == "here"
        return response

    async def files(self, **question: Any) -> list[FileDescriptorProto]:
        response = await self.ask(**question)
        return [FileDescriptorProto.FromString(content) for content in response.file_descriptor_response.file_descriptor_proto]

    async def error(self, **question: Any) -> tuple[int, str]:
        response = await self.ask(**question)
        assert response.WhichOneof("message_response") == "error_response"
        return response.error_response.error_code, response.error_response.error_message


@pytest.fixture(params=["native", "grpcio"])
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    async with channel_to(request.param, Reflection().methods()) as channel:
        yield channel


@pytest.fixture(params=list(VERSIONS))
async def asking(request: pytest.FixtureRequest, channel: grpc.aio.Channel) -> AsyncIterator[Asking]:
    stream = channel.stream_stream(f"/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo")(timeout=LIMIT_S)
    yield Asking(stream, VERSIONS[request.param])
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


async def test_a_connection_has_a_few_streams(channel: grpc.aio.Channel) -> None:
    method = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    streams = [Asking(method(timeout=LIMIT_S), reflection_v1) for _ in range(MAX_OPEN)]
    for stream in streams:
        assert await stream.files(file_containing_symbol="grpc.health.v1.Health")
    one_more = method(timeout=LIMIT_S)
    with pytest.raises(grpc.aio.AioRpcError, match=f"this connection has {MAX_OPEN} of these streams open") as caught:
        await one_more.read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_table_names_methods_that_the_protocol_has() -> None:
    for name, method in Reflection().methods().items():
        service, _, word = name[1:].rpartition("/")
        descriptor = SERVICES[service].methods_by_name[word]
        assert method.kind == "stream"
        assert method.request_type.DESCRIPTOR is descriptor.input_type
        assert method.response_type.DESCRIPTOR is descriptor.output_type


async def test_lists_the_services(asking: Asking) -> None:
    response = await asking.ask(list_services="*")
    names = [service.name for service in response.list_services_response.service]
    assert names == sorted(names)
    assert {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    } <= set(names)


@pytest.mark.parametrize(
    "symbol",
    [
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInferRequest",
        "inference.ModelInferRequest.InferInputTensor",
        "inference.DataType",
    ],
)
async def test_a_symbols_files_are_complete(asking: Asking, symbol: str) -> None:
    files = await asking.files(file_containing_symbol=symbol)
    pool = DescriptorPool()
    known = {file.name: file for file in files}
    assert set(known) == {files[0].name}.union(*(file.dependency for file in files))

    def add(name: str) -> None:
        file = known.pop(name, None)
        if file is not None:
            for imported in file.dependency:
                add(imported)
            pool.Add(file)  # type: ignore[no-untyped-call]

    add(files[0].name)
    if symbol == "inference.ModelInferRequest":
        message = GetMessageClass(pool.FindMessageTypeByName(symbol)).FromString(b"\n\x01m")
        [(field, value)] = message.ListFields()
        assert (field.name, value) == ("model_name", "m")


async def test_a_file_by_its_name(asking: Asking) -> None:
    [named, *_] = await asking.files(file_containing_symbol="inference.GRPCInferenceService")
    assert (await asking.files(file_by_filename=named.name))[0] == named


@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        ({"file_by_filename": "no.proto"}, 5, "no.proto"),
        ({"file_containing_symbol": "no.Such"}, 5, "no.Such"),
        ({"file_containing_symbol": ""}, 5, "file_containing_symbol"),
        ({"all_extension_numbers_of_type": "no.Such"}, 5, "no.Such"),
        ({}, 3, "list_services"),
    ],
)
async def test_what_there_is_not_is_an_error_and_the_stream_goes_on(asking: Asking, question: Any, code: int, words: str) -> None:
    answered, message = await asking.error(**question)
    assert answered == code
    assert words in message
    assert (await asking.ask(list_services="")).list_services_response.service


async def test_an_error_repeats_no_long_name(asking: Asking) -> None:
    _, message = await asking.error(file_containing_symbol="x" * 10_000)
    assert len(message) < 1_000


async def test_nothing_is_extended(asking: Asking) -> None:
    response = await asking.ask(all_extension_numbers_of_type="inference.ModelInferRequest")
    assert response.all_extension_numbers_response.base_type_name == "inference.ModelInferRequest"
    assert not response.all_extension_numbers_response.extension_number
    extension = asking.messages.ExtensionRequest(containing_type="inference.ModelInferRequest", extension_number=7)
    assert (await asking.error(file_containing_extension=extension))[0] == 5
