"""Chromium over its DevTools protocol, for tests of pages: what a person sees, types and presses. Never in here: what a right page is."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine
from typing import Any, Self

from aiohttp import ClientSession, ClientWebSocketResponse

LIMIT_S = 60  # longer than anything in a test takes
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-port=0")
CHROMIUM = shutil.which("chromium")


class Browser:
    """One page. errors: what its console said of faults, and what its policy blocked. flags: more of Chromium's own."""

    def __init__(self, *flags: str) -> None:
        assert CHROMIUM is not None
        self.errors: list[str] = []
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={self._folder.name}", "about:blank"]
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer's is for Python
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        port = next(found[1] for line in self._process.stderr if (found := re.search(r"DevTools listening on ws://[^:]+:(\d+)/", line)))
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)  # or it would stop when the pipe is full
        self._reader.start()
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self._session: ClientSession
        self._socket: ClientWebSocketResponse
        self._run(self._connect(f"http://127.0.0.1:{port}/json"))
        for domain in ("Page", "Runtime", "Log"):
            self.say(f"{domain}.enable")

    def say(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its result."""
        return self._run(self._say(method, parameters))

    def open(self, url: str) -> None:
        """Anew, also where it is the page that is there."""
        for target in ("about:blank", url):
            self.say("Page.navigate", url=target)
            self.wait(f"location.href === {json.dumps(target)} && document.readyState === 'complete'")

    def screen(self, width: int, height: int, scheme: str) -> None:
        self.say("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.say("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def value(self, expression: str) -> Any:
        """The value of an expression in JavaScript; of a promise its result."""
        found = self.say("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until it holds, or LIMIT_S. Asks again and again: a promise ends with the page that it belongs to."""
        until = time.monotonic() + LIMIT_S
        check = f"(() => {{ try {{ return Boolean({condition}) }} catch {{ return false }} }})()"
        while not self.say("Runtime.evaluate", expression=check)["result"].get("value"):
            assert time.monotonic() < until, condition

    def press(self, key: str, *, ctrl: bool = False, text: str = "") -> None:
        codes = {"Enter": 13, "Tab": 9, " ": 32}
        common = {"key": key, "code": key if key != " " else "Space", "windowsVirtualKeyCode": codes.get(key, 0), "modifiers": 2 * ctrl}
        self.say("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **({"text": text} if text else {}))
        self.say("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        self.say("Input.insertText", text=text)

    def choose_file(self, selector: str, path: str) -> None:
        root = self.say("DOM.getDocument")["root"]["nodeId"]
        node = self.say("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.say("DOM.setFileInputFiles", nodeId=node, files=[path])

    def picture(self) -> bytes:
        """PNG of the whole page."""
        return base64.b64decode(self.say("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._run(self._session.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._folder.cleanup()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(work, LIMIT_S))

    async def _connect(self, url: str) -> None:
        self._session = ClientSession()
        async with self._session.get(url) as response:
            targets = json.loads(await response.text())
        page = next(target for target in targets if target["type"] == "page")
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    async def _say(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            heard = await self._socket.receive_json()
            if heard.get("id") == self._number:
                assert "error" not in heard, heard
                return heard["result"]
            if heard["method"] == "Runtime.exceptionThrown" or (
                heard["method"] == "Log.entryAdded" and heard["params"]["entry"]["level"] == "error"
            ):
                self.errors.append(json.dumps(heard["params"]))
