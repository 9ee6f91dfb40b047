"""The page as a file: what stands in it, what must not, and how large it gets."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser

import pytest
from report_runs import write_rounds_so_far, write_run

from longmab_pl.errors import DataError
from longmab_pl.reporting.html.page import run_page, write_page
from longmab_pl.reporting.html.run_data import read_run_data
from longmab_pl.reporting.run_report import RunReport


class Elements(HTMLParser):
    """Start tags and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def page(run):
    return (run / "report.html").read_text()


def test_the_page_has_every_part_of_a_run(page):
    text = Elements(page).text
    for part in (
        "before training",
        "after round 3",
        "Better",
        "60 questions paired",
        "Reward of a record's answers",
        "Records with a usable pair",
        "Chosen answer preferred",
        "DPO margin",
        "Best answer so far, by pull",
        "keeps its last value",
        "Where in the document it reads",
        "needles found, %",
        "score by length, %",
        "Gold answer",
        "number 7 seven",
        "failed records: 1, such as lost: too long",
        "The document, 9 chunks",
        "in_format",
        "All records",
        "Peak memory",
        "seed_everything 7",
        "torch",
        "learning_rate",
    ):
        assert part in text, part


def test_the_page_asks_for_nothing_and_keeps_what_is_private(page):
    elements = Elements(page)
    asked = [
        value for _, attrs in elements.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")
    ]
    assert asked
    assert all(value.startswith("#") or value == "data:," for value in asked)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "sk-123" not in page
    assert "/secret/place" not in page
    policy = next(
        attrs["content"] for tag, attrs in elements.tags if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy


def test_texts_of_data_and_models_are_only_text(hostile_run):
    page = (hostile_run / "report.html").read_text()
    elements = Elements(page)
    scripts = [attrs for tag, attrs in elements.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "record-rows"}, {}]
    assert not [tag for tag, _ in elements.tags if tag == "img"]
    assert not [name for _, attrs in elements.tags for name in attrs if name.startswith("on")]
    assert "\u202e" not in page
    assert "\x00" not in page
    assert "😀" in page
    rows = re.search(r'id="record-rows">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(rows)[0][1].startswith("record-0000</script>")


def test_no_two_drawings_share_a_name(page):
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    used = set(re.findall(r'xlink:href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert used <= set(names)


def test_cost_counts_the_journal_and_not_what_a_text_says(run):
    data = read_run_data(run)
    answers = sum(r.answers for r in data.rounds)
    assert sum(calls.answers for calls in data.calls.values()) == answers
    assert sum(calls.new_tokens for calls in data.calls.values()) == 7 * answers
    assert sum(calls.prompt_tokens for calls in data.calls.values()) == 100 * answers
    assert data.record.costs[2].training == 40.0


def test_the_answers_of_a_judge_count_in_the_cost_and_not_among_the_answers(tmp_path):
    folder = write_run(tmp_path / "judged", rounds=1, records=3)
    (journal,) = folder.glob("rounds/*/completions.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines, *lines]))
    data = read_run_data(folder)
    assert data.calls[1].answers == 2 * len(lines)
    assert f">{len(lines)} answers<" in run_page(data)


def test_five_thousand_records_make_a_small_page_soon(tmp_path, request):
    folder = write_run(tmp_path / "large", rounds=1, records=5000, answers=4, chunks=20)
    began = time.process_time()
    page = write_page(folder)
    assert time.process_time() - began < 10
    assert page.stat().st_size < 3_000_000
    text = page.read_text()
    assert text.count('<article class="card sample"') == 48
    assert len(json.loads(re.search(r'id="record-rows">(.*?)</script>', text, re.DOTALL)[1])) == 5000


def test_long_answers_are_cut_in_the_middle_and_say_so(tmp_path):
    folder = write_run(tmp_path / "long", rounds=1, records=3, text="word " * 20_000)
    text = write_page(folder).read_text()
    assert len(text) < 1_000_000
    assert "characters left out" in text


def test_a_run_without_rollouts_without_evaluations_and_one_that_goes_on(tmp_path):
    RunReport([{"round": 1, "train/rewards/accuracies": 0.7, "train/loss": 0.6}], []).save(tmp_path)
    text = write_page(tmp_path).read_text()
    assert "1 epoch trained" in text
    assert "no score to compare" in text
    run = write_rounds_so_far(tmp_path / "going", records=5, unfinished=1)
    data = read_run_data(run, going_on=True)
    assert data.rounds[0].n_records == 5
    assert not data.rounds[0].complete
    assert "5 records rolled out" in run_page(data)


def test_no_run_folder_and_lost_rounds_are_named(tmp_path):
    with pytest.raises(DataError, match="give the folder of a run"):
        write_page(tmp_path / "nowhere")
    RunReport([{"round": 1, "folder": "000-gone"}], []).save(tmp_path)
    assert "000-gone is not there" in write_page(tmp_path).read_text()
