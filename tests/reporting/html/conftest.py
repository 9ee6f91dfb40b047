"""One browser for all tests of pages, and runs that several of them read."""

from __future__ import annotations

import os

import pytest
from chromium import BINARY, Chromium
from report_runs import write_run

from longmab_pl.reporting.html.page import write_page

HOSTILE = "</script><script>document.title='run'</script><img src=x onerror=document.title='run'>'\"&\u202e\x00<!-- 😀"
"""A text that runs a script if an escape is missing anywhere."""


@pytest.fixture(scope="session")
def browser():
    if BINARY is None:
        if os.environ.get("LONGMAB_NEEDS_CHROMIUM"):
            pytest.fail("there is no Chromium, and LONGMAB_NEEDS_CHROMIUM asks for it: apt-get install chromium")
        pytest.skip("there is no Chromium on this machine")
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of three rounds with a page."""
    folder = write_run(tmp_path_factory.mktemp("report") / "usual", rounds=3, records=30)
    write_page(folder)
    return folder


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory):
    """A run of a tree method whose data and models say hostile things, with a page."""
    folder = write_run(tmp_path_factory.mktemp("report") / "hostile", records=6, text=HOSTILE, tree=True)
    write_page(folder)
    return folder
