"""Pages in a real browser: nothing overflows, nothing is asked for, nothing fails, and the keyboard suffices."""

from __future__ import annotations

import io
import re

import pytest
from matplotlib.image import imread

from longmab_pl.reporting.html.comparison import write_comparison

WIDTHS, SCHEMES = (390, 1280), ("light", "dark")

LOW_CONTRAST = """(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const clear = (e) => /rgba\\(0, 0, 0, 0\\)/.test(getComputedStyle(e).backgroundColor);
  const texts = "h1, h2, h3, p, .chip, summary, th, td:not([style]), dt, dd, a, .tag, mark, label, .stack span";
  const low = [];
  for (const e of document.querySelectorAll(texts)) {
    if (!e.checkVisibility()) continue;
    let ground = e;
    while (ground !== document.body && clear(ground)) ground = ground.parentElement;
    const [a, b] = [light(getComputedStyle(e).color), light(getComputedStyle(ground).backgroundColor)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
  }
  return low;
})()"""
"""Script: the texts whose contrast with their ground is below 4.5, WCAG's level AA."""

SHOWN = """[...document.querySelectorAll('.sample')].filter((s) => !s.hidden)
  .map((s) => s.querySelector('h3').textContent + s.dataset.round)"""
"""Script: record and round of the samples in view."""


def url(path) -> str:
    return path.resolve().as_uri()


def change(browser, name: str, value: str, event: str) -> None:
    element = f"document.getElementById('{name}')"
    browser.run(f"{element}.value = '{value}'; {element}.dispatchEvent(new Event('{event}'))")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("which", ["run", "hostile_run"])
def test_a_page_fits_every_screen_in_both_schemes_and_says_nothing_on_the_console(
    request, tmp_path, browser, which, width, scheme
):
    page = request.getfixturevalue(which) / "report.html"
    seconds = browser.open(url(page), width, scheme=scheme)
    assert browser.messages == []
    assert [asked for asked in browser.requests if not asked.startswith("data:")] == [url(page)]
    assert seconds < 5
    assert browser.run("document.documentElement.scrollWidth") == width, "something is wider than the screen"
    assert browser.run("document.title").endswith("· longmab"), "a text of the data ran as a script"
    picture = imread(io.BytesIO(browser.screenshot(tmp_path / "page.png", whole=False)))
    corner = picture[-1, 0, :3].mean()
    assert corner < 0.3 if scheme == "dark" else corner > 0.8
    assert picture[:, :, :3].std() > 0.02, "the page is blank"


def test_every_text_can_be_read_on_its_ground_in_both_schemes(run, browser):
    for scheme in SCHEMES:
        browser.open(url(run / "report.html"), scheme=scheme)
        assert browser.run(LOW_CONTRAST) == []


def test_samples_are_turned_over_by_keyboard_and_chosen_by_round(run, browser):
    browser.open(url(run / "report.html"))
    (first,) = browser.run(SHOWN)
    reached = []
    for _ in range(60):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.tagName"))
        if reached[-1] == "next":
            break
    assert reached[-1] == "next", f"Tab has reached only {reached}"
    assert "theme" in reached
    browser.press("Enter")
    (second,) = browser.run(SHOWN)
    assert second != first
    browser.press("ArrowLeft")
    assert browser.run(SHOWN) == [first]
    assert browser.run("document.getElementById('previous').disabled")
    change(browser, "by-round", "3", "change")
    (third,) = browser.run(SHOWN)
    assert third.endswith("3")


def test_records_are_paged_sorted_and_found(run, browser):
    browser.open(url(run / "report.html"))
    column = "[...document.querySelectorAll('#record-table tbody tr')].map((r) => r.cells[{}].textContent)"
    assert len(browser.run(column.format(1))) == 25
    assert browser.run("document.getElementById('page-which').textContent") == "1 of 4"
    browser.run("document.getElementById('page-on').click()")
    assert browser.run(column.format(1))[0] == "record-0025"
    best = "document.querySelector('#record-table [data-column=\"3\"]')"
    browser.run(f"{best}.click()")
    rising = browser.run(column.format(3))
    assert rising == sorted(rising)
    browser.run(f"{best}.click()")
    assert browser.run(column.format(3))[0] == "1.000"
    assert browser.run(f"{best}.parentElement.getAttribute('aria-sort')") == "descending"
    change(browser, "find", "RECORD-0007", "input")
    assert browser.run(column.format(1)) == ["record-0007"] * 3


def test_records_without_a_reward_are_last_in_both_orders(run, browser, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(re.sub(r'("record-0000",\d+),[^,]+,', r"\1,null,", (run / "report.html").read_text(), count=1))
    browser.open(url(page))
    best = "document.querySelector('#record-table [data-column=\"3\"]')"
    for _ in range(2):
        browser.run(f"{best}.click()")
        assert "–" not in browser.run(
            "[...document.querySelectorAll('#record-table tbody tr')].map((r) => r.cells[3].textContent)"
        )
    for _ in range(3):
        browser.run("document.getElementById('page-on').click()")
    assert browser.run("document.querySelector('#record-table tbody').lastChild.cells[3].textContent") == "–"


def test_a_node_of_a_tree_leads_to_its_text(hostile_run, browser):
    browser.open(url(hostile_run / "report.html"))
    last = "[...document.querySelectorAll('.sample:not([hidden]) .tree a')].at(-1)"
    browser.run(f"{last}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert browser.run("document.activeElement.closest('details').open")
    assert "What of 0.2.2?" in browser.run("document.activeElement.textContent")


def test_the_theme_button_overrules_the_system(run, browser):
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(url(run / "report.html"), scheme="dark")
    dark = browser.run(ground)
    browser.run("document.getElementById('theme').click()")
    light = browser.run(ground)
    browser.run("document.getElementById('theme').click()")
    assert browser.run(ground) == dark != light
    assert browser.run("document.getElementById('theme').getAttribute('aria-label')") == "Color theme: dark"


def test_a_comparison_fits_a_phone(run, hostile_run, browser, tmp_path):
    page = write_comparison([run, hostile_run], tmp_path / "comparison.html")
    browser.open(url(page), 390)
    assert browser.messages == []
    assert browser.run("document.documentElement.scrollWidth") == 390
    assert browser.run("document.querySelectorAll('svg.chart').length") >= 5
