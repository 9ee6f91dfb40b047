"""A hub on this machine that takes repositories and commits, and keeps what it was sent."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub:
    """What the hub has received.

    Attributes:
        repositories: the bodies of requests to make one.
        files: content by `kind/owner/name/path`.
        tokens: values of the authorization header.
        refuses: whether it answers commits with an error.
    """

    def __init__(self) -> None:
        self.repositories: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.refuses = False
        self.url = ""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve a hub on loopback."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.tokens.add(self.headers.get("Authorization", ""))
            if self.path == "/api/repos/create":
                hub.repositories.append(json.loads(body))
                self._answer({"url": f"{hub.url}/{hub.repositories[-1].get('organization', 'me')}/repository"})
            elif self.path == "/api/validate-yaml":
                self._answer({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                self._answer(
                    {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
                )
            elif "/commit/" in self.path and not hub.refuses:
                place = self.path.removeprefix("/api/").partition("/commit/")[0]
                for line in body.decode().splitlines():
                    row = json.loads(line)
                    if row["key"] == "file":
                        hub.files[f"{place}/{row['value']['path']}"] = base64.b64decode(row["value"]["content"])
                self._answer(
                    {
                        "commitUrl": f"{hub.url}/{place.partition('/')[2]}/commit/1",
                        "commitOid": "1" * 40,
                        "success": True,
                    }
                )
            else:
                self._answer({"error": "no"}, 403)

        def do_GET(self) -> None:
            self._answer({"id": "x", "sha": "1" * 40, "siblings": []}, 200 if "/api/" in self.path else 404)

        def do_HEAD(self) -> None:
            self._answer({}, 404)

        def _answer(self, content: dict[str, Any], status: int = 200) -> None:
            payload = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
