"""Which models a server has while files come and go in its repository."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import numpy as np
from inferd_client import Client

from tests import models
from tests.server_fixtures import LIMIT_S, ServerFixture

IDENTITY, DOUBLED = models.identity(), models.doubled()
X = np.arange(16, dtype=np.float32)[np.newaxis]
REQUESTS = 20  # of each client, after each entry


def write_stray(folder: Path, kind: int) -> None:
    """Entries that are no models, one of twelve kinds."""
    match kind:
        case 0:
            (folder / "2024").mkdir()
        case 1:
            (folder / "model.onnx").write_bytes(IDENTITY)
        case 2:
            (folder / "config.toml").write_text("max_batch_size = 2")
            (folder / "config.pbtxt").write_text("max_batch_size: 2")
        case 3:
            os.mkfifo(folder / "pipe.onnx")
        case 4:
            with socket.socket(socket.AF_UNIX) as bound:
                opened = os.open(folder, os.O_PATH)
                bound.bind(f"/proc/self/fd/{opened}/socket")  # a socket's path has 107 bytes at most
                os.close(opened)
        case 5:
            (folder / "dangling").symlink_to("nowhere")
        case 6:
            (folder / "system").symlink_to("/usr")
        case 7:
            (folder / "secret.onnx").write_bytes(IDENTITY)
            (folder / "secret.onnx").chmod(0)
        case 8:
            os.mkdir(os.fsencode(folder) + b"/\xff\xfe")
            (folder / "m" / os.fsdecode(b"\xff")).touch()
        case 9:
            models.repository(folder, {"n" * 250: IDENTITY})
        case 10:
            (folder / "m" / "1" / ".model.onnx.swp").touch()
            (folder / "m" / "1" / "model.onnx~").touch()
            (folder / "4913").touch()  # vim's
        case 11:
            (folder / ".git" / "1").mkdir(parents=True)
            (folder / ".git" / "1" / "model.onnx").write_bytes(b"")


def test_stray_entries_of_a_repository_under_load(tmp_path: Path) -> None:
    folder = models.repository(tmp_path / "models", {"m": IDENTITY, "1001": DOUBLED})
    models.write(folder, "single", IDENTITY)
    ended, failed, answered = threading.Event(), list[Exception](), [0, 0, 0]

    def ask(client: int, name: str, factor: int) -> None:
        with Client(server.address) as asking:
            while not ended.is_set():
                try:
                    assert np.array_equal(next(iter(asking.infer(name, {"x": X}).values())), factor * X)
                except Exception as error:
                    failed.append(error)
                answered[client] += 1

    def rename() -> None:
        """A folder that is renamed while it is read."""
        names = [folder / "moved", folder / "about"]
        models.repository(folder, {"moved": IDENTITY})
        while not ended.is_set():
            names[0].rename(names[1])
            names.reverse()
            ended.wait(0.001)

    with ServerFixture(folder, model_control="poll", model_poll_s=1) as server:
        lifecycle = server.server.models._lifecycle
        assert lifecycle is not None
        asks = [("m", 1), ("1001", 2), ("single", 1)]
        threads = [threading.Thread(target=ask, args=(each, *asks[each])) for each in range(3)]
        for thread in threads:
            thread.start()
        renaming = threading.Thread(target=rename)
        try:
            for kind in range(13):
                if kind == 12:
                    renaming.start()
                else:
                    write_stray(folder, kind)
                begun = list(answered)
                lifecycle.compare().result(LIMIT_S)
                assert server.on_loop(lambda: {name for name, _ in asks} <= server.server.models._repository.names())
                while not all(now >= before + REQUESTS for now, before in zip(answered, begun, strict=True)):
                    ended.wait(0.001)
        finally:
            ended.set()
            for thread in [*threads, *([renaming] if renaming.ident else [])]:
                thread.join(LIMIT_S)
    assert not failed
