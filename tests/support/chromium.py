"""A headless Chromium driven through its DevTools protocol: pages are opened, looked at, and used by keyboard."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

BINARY = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


class Chromium:
    """One browser with one page. `messages` holds what its console and its errors said since the last `open`."""

    def __init__(self) -> None:
        assert BINARY is not None
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [
                BINARY,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--no-first-run",
                "--remote-debugging-port=0",
                f"--user-data-dir={self._folder.name}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._loop.run_until_complete(self._connect())

    async def _connect(self) -> None:
        port_file, deadline = Path(self._folder.name) / "DevToolsActivePort", time.monotonic() + 60
        while not port_file.is_file() or not port_file.read_text().strip():
            assert time.monotonic() < deadline, "Chromium has not started within a minute"
            assert self._process.poll() is None, "Chromium has ended at once"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        self._http = aiohttp.ClientSession()
        async with self._http.get(f"http://127.0.0.1:{port}/json/list") as answer:
            page = next(target for target in await answer.json() if target["type"] == "page")
        self._socket = await self._http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._ask(f"{domain}.enable")

    async def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            said = json.loads((await asyncio.wait_for(self._socket.receive(), 60)).data)
            self._note(said)
            if said.get("id") == number:
                assert "error" not in said, said
                return dict(said["result"])

    def _note(self, said: dict[str, Any]) -> None:
        params = said.get("params", {})
        if said.get("method") == "Page.loadEventFired":
            self._loaded = True
        elif said.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description", details["text"]))
        elif said.get("method") == "Log.entryAdded":
            self.messages.append(params["entry"]["text"])
        elif said.get("method") == "Runtime.consoleAPICalled":
            self.messages.append(str([argument.get("value") for argument in params["args"]]))
        elif said.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command of the protocol and return its result."""
        return self._loop.run_until_complete(self._ask(method, **params))

    def open(self, url: str, width: int = 1280, height: int = 900, scheme: str = "light") -> float:
        """Open a page and return the seconds until it has loaded."""
        self.messages.clear()
        self.requests.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded, began = False, time.monotonic()
        self.ask("Page.navigate", url=url)
        while not self._loaded:
            said = json.loads(self._loop.run_until_complete(asyncio.wait_for(self._socket.receive(), 60)).data)
            self._note(said)
        return time.monotonic() - began

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page; promises are awaited."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key: `Tab`, `Enter`, `ArrowRight`, ..."""
        codes = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, " ": 32}
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path, whole: bool = True) -> bytes:
        """Write a picture of the page, all of it or what is in view, and return its bytes."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"] if whole else None
        clip = {} if size is None else {"clip": {**size, "height": min(size["height"], 16_000), "scale": 1}}
        picture = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **clip)["data"]
        path.write_bytes(base64.b64decode(picture))
        return path.read_bytes()

    def close(self) -> None:
        async def end() -> None:
            await self._socket.close()
            await self._http.close()

        self._loop.run_until_complete(end())
        self._process.terminate()
        self._process.wait(20)
        self._loop.close()
        self._folder.cleanup()
