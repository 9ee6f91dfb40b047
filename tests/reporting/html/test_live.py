"""The live page: it follows a run, and answers to this machine only."""

from __future__ import annotations

import http.client
import threading

import pytest
from report_runs import write_rounds_so_far, write_run

from longmab_pl.errors import ConfigError
from longmab_pl.reporting.html.live import LivePage, LiveServer


@pytest.fixture
def server(tmp_path):
    with LiveServer(tmp_path / "run", 0) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def get(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_follows_the_run(server, tmp_path):
    assert "Nothing to show yet" in get(server, "/")[1]
    before = get(server, "/version")[1]
    write_rounds_so_far(tmp_path / "run", records=4, unfinished=1)
    server.page._until = 0.0
    assert "4 records rolled out" in get(server, "/")[1]
    assert get(server, "/version")[1] != before


def test_a_new_version_is_not_made_more_often_than_it_can_be(tmp_path):
    page = LivePage(write_rounds_so_far(tmp_path / "run", records=2, unfinished=0))
    first = page.newest()
    write_rounds_so_far(tmp_path / "run", records=9, unfinished=0)
    page._until = float("inf")
    assert page.newest() == first
    page._until = 0.0
    assert "9 records rolled out" in page.newest()[1]


def test_other_hosts_and_other_paths_are_refused(server):
    assert get(server, "/", host="evil.example")[0] == 403
    assert get(server, "/../../etc/passwd")[0] == 404
    assert get(server, "/", method="POST")[0] == 501
    assert get(server, "/", host=f"localhost:{server.server_port}")[0] == 200
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_named(server, tmp_path):
    with pytest.raises(ConfigError, match=f"port {server.server_port} .* give another --port"):
        LiveServer(tmp_path, server.server_port)


def test_an_open_page_takes_over_what_is_new(server, tmp_path, browser):
    write_rounds_so_far(tmp_path / "run", records=3, unfinished=0)
    browser.open(server.url)
    assert "3 records rolled out" in browser.run("document.body.innerText")
    write_run(tmp_path / "other", rounds=1, records=5)
    (tmp_path / "other" / "report.json").rename(tmp_path / "run" / "report.json")
    server.page._until = 0.0
    found = browser.run(
        "new Promise((done) => { const look = () => document.body.innerText.includes('Better') || "
        "document.body.innerText.includes('No clear difference') ? done(true) : setTimeout(look, 100); look(); })"
    )
    assert found
    assert browser.messages == []
