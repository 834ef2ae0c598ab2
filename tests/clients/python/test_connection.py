"""How channels are made: Unix sockets, proxies, the caller's channel arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from inferd_client import Client, InferenceError

from tests.certificates import Certificates
from tests.echo_server import EchoServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.echo_server import Awaited

README = Path(__file__).resolve().parents[3] / "clients" / "python" / "README.md"

X = {"x": np.ones(3)}


async def test_an_abstract_socket(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    for target in (f"unix:@{server.abstract_name}", f"unix-abstract:{server.abstract_name}"):
        assert await connect(target, token="t", timeout=30).infer("echo", X)


async def test_what_stays_on_this_machine_goes_through_no_proxy(
    server: EchoServer, connect: Callable[..., Awaited], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES", "127.0.0.1/32")
    assert await connect(server.target, token="t", timeout=30).infer("echo", X)


async def test_channel_arguments_of_the_caller_count(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, options=[("grpc.max_receive_message_length", 8)], timeout=30)
    with pytest.raises(InferenceError, match=r"RESOURCE_EXHAUSTED: .*larger than max"):
        await client.infer("echo", {"x": np.ones(100)})


async def test_grpc_may_share_calls_between_the_addresses_of_one_name(tmp_path: Path, connect: Callable[..., Awaited]) -> None:
    servers = []
    for name in "ab":
        (tmp_path / name).mkdir()
        servers.append(EchoServer(tmp_path / name))
    both = ",".join(server.target for server in servers)
    client = connect(f"ipv4:{both}", options=[("grpc.lb_policy_name", "round_robin")], timeout=30)
    while not all(server.infer_calls for server in servers):
        await client.infer("echo", X)
    for server in servers:
        server.stop()


def test_the_readmes_ways_to_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = Certificates()
    for name, content in (("ca.pem", pem.ca), ("client.pem", pem.client), ("client.key", pem.client_key)):
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```py(?:thon)?\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    connecting = [block for block in blocks if "Client(" in block and "infer(" not in block and "wait_ready(" not in block]
    assert len(connecting) == 4
    for block in connecting:
        exec(block, {"Client": Client})
