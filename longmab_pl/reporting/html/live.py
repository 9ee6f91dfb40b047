"""The page of a run that goes on, served on this machine only."""

from __future__ import annotations

import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.reporting.html.page import render, run_page
from longmab_pl.reporting.html.run_data import read_run_data
from longmab_pl.shown import first_line

HOST = "127.0.0.1"

WATCHED = (
    "report.json",
    "run.json",
    "rounds/*/round.json",
    "rounds/*/rollouts.partial.jsonl",
    "evaluations/*/*/result.json",
)
"""Files of a run whose change makes a new version of the page."""


class LivePage:
    """The page of a run, made again when the run's files have changed and the last one is old enough.

    Args:
        run: the run folder; it may appear later.

    Making a page takes seconds for a large round, so a page is kept at least ten times as long as it took to make.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._version = self._text = ""
        self._until = 0.0

    def newest(self) -> tuple[str, str]:
        """Return the version and the text of the page."""
        with self._lock:
            version = self._version_now()
            if not self._text or (version != self._version and time.monotonic() >= self._until):
                began = time.monotonic()
                self._text = self._page(version)
                self._version = version
                self._until = time.monotonic() + 10 * (time.monotonic() - began)
            return self._version, self._text

    def _page(self, version: str) -> str:
        try:
            return run_page(read_run_data(self.run, going_on=True), version)
        except (LongMabError, OSError) as error:  # the folder is not there yet, or a file is being replaced
            return render("waiting.html.j2", version, title=self.run.name, message=first_line(error))

    def _version_now(self) -> str:
        """Return a text that changes with the watched files."""
        newest, size = 0, 0
        for pattern in WATCHED:
            for path in self.run.glob(pattern):
                try:
                    stat = path.stat()
                except OSError:
                    continue
                newest, size = max(newest, stat.st_mtime_ns), size + stat.st_size
        return f"{newest:x}-{size:x}"


class LiveServer(ThreadingHTTPServer):
    """A server of one page on the loopback interface: `/` is the page, `/version` the version that `/` would have.

    Requests that name another host are refused, so that no site can read the page through a browser here.

    Args:
        run: the run folder.
        port: port; 0 takes a free one.

    Raises:
        ConfigError: the port is in use.

    Example:
        >>> with LiveServer(Path("runs/demo"), 0) as server:
        ...     print(server.url)
        ...     server.serve_forever()
    """

    daemon_threads = True

    def __init__(self, run: Path, port: int) -> None:
        self.page = LivePage(run)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"port {port} of {HOST} cannot be used ({error}); give another --port, or 0") from error

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer

    def do_GET(self) -> None:
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", "this page is for a browser on this machine only\n")
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html", self.server.page.newest()[1])
        elif self.path == "/version":
            self._send(HTTPStatus.OK, "text/plain", self.server.page.newest()[0])
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "there is only /\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing for a request."""
