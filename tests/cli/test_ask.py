"""`longmab ask` and `longmab chat`: answers about a document, base beside adapter, several turns on one prefill."""

from __future__ import annotations

import io
import json
import re

import pytest
import yaml
from tiny_adapters import save_adapter

from longmab_pl.cli.asked_document import BUNDLED, EXCERPT, _excerpt, default_model, trained_format
from longmab_pl.cli.command_line import option_value, positionals
from longmab_pl.cli.main import main
from longmab_pl.prompts.formats import DirectAnswer

DOCUMENT = "Mediton lies on the river Telux. It is old.\n\nRovex is a town of glass. Its mayor is called Ana.\n"


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "towns.md"
    path.write_text(DOCUMENT)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    """A run folder with an adapter, and settings that say how it was asked."""
    folder = tmp_path_factory.mktemp("run")
    save_adapter(folder / "adapter", tiny_model)
    prompt_format = {"class_path": "longmab_pl.prompts.DirectAnswer", "init_args": {"prefill": "So:"}}
    config = {"data": {"class_path": "x", "init_args": {"prompt_format": prompt_format}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_base_and_adapter_answer_beside_each_other(document, run, tiny_model, capsys):
    adapter = str(run / "adapter")
    args = ["--adapter", adapter, "--marks", "0", "--max_tokens", "8"]
    main(["ask", tiny_model, str(document), "Which river?", *args])
    said = capsys.readouterr().out
    assert "base: " in said
    assert "adapter: " in said
    answers = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    assert answers["base"] != answers["adapter"]
    main(["ask", str(document), "Which river?", *args])
    assert capsys.readouterr().out == said, "without a name the adapter's base model is asked"


def test_the_chunks_nearest_to_the_question_are_marked(document, tiny_model, capsys):
    args = ["--marks", "1", "--chunk_size", "50", "--max_tokens", "4"]
    main(["ask", tiny_model, str(document), "Who is the mayor of Rovex?", *args])
    said = capsys.readouterr().out
    assert "nearest to the question" in said
    (mark,) = [line for line in said.splitlines() if line.startswith("  chunk ")]
    assert "Rovex" in mark or "Ana" in mark
    assert "Telux" not in mark
    main(["ask", tiny_model, str(document), "Who?", "--marks", "1", "--chunk_size", "5000", "--max_tokens", "4"])
    assert "nearest" not in capsys.readouterr().out, "of a document that is one chunk there is nothing to choose"


def test_an_excerpt_ends_with_a_whole_word():
    assert _excerpt("A short\ntext.") == "A short text."
    long = _excerpt("word " * 100)
    assert long.endswith("word ...")
    assert len(long) <= EXCERPT + 4


def test_a_document_that_does_not_fit_loses_its_middle_and_says_so(tmp_path, tiny_model, capsys):
    path = tmp_path / "long.txt"
    path.write_text("A town lies on a river. " * 500)
    main(["ask", tiny_model, str(path), "Which river?", "--marks", "0", "--max_tokens", "4"])
    assert "its middle is left out" in capsys.readouterr().err


def test_a_chat_reads_the_document_once(document, tiny_model, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Which river?\nWho is the mayor?\n\nnot asked\n"))
    main(["chat", tiny_model, str(document), "--marks", "0", "--max_tokens", "6"])
    said = capsys.readouterr().out
    read = [int(number.replace(",", "")) for number in re.findall(r"\[([\d,]+) tokens read\]", said)]
    assert len(read) == 2
    assert read[0] > len(DOCUMENT)
    assert read[1] < 60, "the second turn reads its question and what stands around it"


def test_a_chat_that_is_too_long_ends_with_a_sentence(document, tiny_model, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Which river?\n" + "Why? " * 100 + "\n"))
    main(["chat", tiny_model, str(document), "--marks", "0", "--max_tokens", "6", "--max_model_len", "300"])
    assert "as long as the model takes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"file": "gone.md"}, "no such file"),
        ({"model": "bundled:smollm"}, "there is no bundled model"),
        ({"--adapter": "nowhere"}, "adapter folder 'nowhere' does not exist"),
        ({"--max_tokens": "2040"}, "lower --max_tokens"),
        ({"--marks": "-1"}, "marks"),
    ],
)
def test_mistakes_are_named_in_one_line(document, tiny_model, capsys, change, says):
    given = {"model": tiny_model, "file": str(document), "--marks": "0"} | change
    options = [part for name, value in given.items() if name.startswith("--") for part in (name, value)]
    with pytest.raises(SystemExit):
        main(["ask", given["model"], given["file"], "Which river?", *options])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert says in line


def test_the_run_of_an_adapter_says_how_it_was_asked(run, tmp_path):
    assert trained_format(str(run / "adapter")) == DirectAnswer(prefill="So:")
    assert trained_format(None) is trained_format(str(tmp_path / "adapter")) is None
    bad = {"data": {"init_args": {"prompt_format": {"class_path": "os.system", "init_args": {"command": "touch x"}}}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(bad))
    assert trained_format(str(tmp_path / "adapter")) is None


def test_the_model_that_is_asked_without_a_name(tmp_path):
    assert default_model(None) == default_model(str(tmp_path)) == BUNDLED
    for base, expected in (("owner/name", "owner/name"), ("/gone/model", BUNDLED), (str(tmp_path), str(tmp_path))):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        assert default_model(str(tmp_path)) == expected


def test_positionals_and_values_of_options():
    args = ["a.pdf", "--adapter", "x/y", "Who?", "--marks=2"]
    assert positionals(args) == ["a.pdf", "Who?"]
    assert option_value(args, "--adapter") == "x/y"
    assert option_value(args, "--marks") == "2"
    assert option_value(args, "--device") is None
