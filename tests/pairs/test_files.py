from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from tokenizers_like import chatml_like

from longmab_pl.errors import ConfigError, DataError
from longmab_pl.pairs.files import PairWriter, pair_to_row
from longmab_pl.pairs.readers import read_round_pairs
from longmab_pl.pairs.types import PairOrigin, PreferencePair
from longmab_pl.prompts.transcript import assistant, user

PAIR = PreferencePair(
    id="q1",
    prompt=({"role": "user", "content": "Text: it lies on the Ombra – “sure”.\nWhich river?"},),
    chosen="Answer: Ombra",
    rejected="Answer: Elbe",
    chosen_reward=1.0,
    rejected_reward=0.1 + 0.2,
    chosen_ended=True,
    rejected_ended=False,
    origin=PairOrigin(
        pair=0,
        input="Which river?",
        answer="Ombra",
        chosen_index=3,
        rejected_index=1,
        chosen_step=1,
        rejected_step=0,
        chosen_read=(4, 7),
        rejected_read=(),
        round=2,
    ),
)


def write(path, format="jsonl", style="conversational", tokenizer=None, n=3):
    pairs = [replace(PAIR, id=f"q{i}", origin=replace(PAIR.origin, pair=i % 2)) for i in range(n)]
    with PairWriter(path, format, style, tokenizer) as writer:
        for pair in pairs:
            writer.write(pair)
    assert writer.count == n
    return pairs


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("n", [0, 1, 200])
def test_written_pairs_are_read_back(tmp_path, format, n):
    path = tmp_path / f"pairs.{format}"
    pairs = write(path, format, n=n)
    assert list(read_round_pairs(path)) == pairs
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


CONVERSATIONS = PreferencePair.of_conversations(
    "tree",
    PAIR.prompt,
    [assistant("When?", (5, 6, 0)), user("Go on."), assistant("In 1800.", (7,), ended=False)],
    [assistant("Why?")],
    chosen_reward=2.0,
    imitated=False,
    origin=PAIR.origin,
)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_conversations_are_read_back_beside_single_answers(tmp_path, format):
    pairs = [PAIR, CONVERSATIONS, replace(CONVERSATIONS, id="again", shared_turns=0, imitated=True)]
    with PairWriter(tmp_path / f"p.{format}", format) as writer:
        for pair in pairs:
            writer.write(pair)
    assert list(read_round_pairs(writer.path)) == pairs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_turn_ids": [[1]]}, "chosen_turn_ids"),
        ({"chosen_turn_ended": None}, "chosen_turn_ended"),
        ({"chosen_turn_ids": [[], [], [2**31]]}, "no token id"),
        ({"shared_turns": 1}, "shared_turns"),
        ({"chosen": [{"role": "user", "content": "a"}] * 3}, "role"),
    ],
)
def test_a_conversation_with_a_bad_column_is_named(tmp_path, change, message):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(pair_to_row(CONVERSATIONS) | change) + "\n")
    with pytest.raises(DataError, match=message):
        list(read_round_pairs(path))


def test_conversations_have_no_plain_style(tmp_path):
    with (
        pytest.raises(ConfigError, match="conversational"),
        PairWriter(tmp_path / "p.jsonl", style="plain", tokenizer=chatml_like()) as writer,
    ):
        writer.write(CONVERSATIONS)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_load_dataset_reads_both_styles(tmp_path, byte_tokenizer, format):
    from datasets import load_dataset

    kind = {"jsonl": "json"}.get(format, format)
    for style in ("conversational", "plain"):
        path = tmp_path / f"{style}.{format}"
        write(path, format, style, byte_tokenizer)
        data = load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
        assert len(data) == 3
        row = data[0]
        assert row["chosen_read"] == [4, 7]
        assert row["chosen_step"] == 1
        if style == "conversational":
            assert row["prompt"] == list(PAIR.prompt)
            assert row["chosen"] == [{"role": "assistant", "content": "Answer: Ombra"}]
        else:
            assert row["prompt"] == "[user]" + PAIR.prompt[0]["content"] + "<end>[assistant]"
            assert (row["chosen"], row["rejected"]) == ("Answer: Ombra", "Answer: Elbe")


def test_a_start_token_that_the_tokenizer_adds_is_not_written(tmp_path):
    starting = chatml_like(bos="<s>", template="{% for m in messages %}{{ m['content'] }}<s>{% endfor %}")
    starting.bos_token = "<s>"
    write(tmp_path / "p.jsonl", style="plain", tokenizer=starting, n=1)
    row = json.loads((tmp_path / "p.jsonl").read_text())
    assert row["prompt"] == PAIR.prompt[0]["content"] + "<s>"


def test_nothing_half_written_has_the_files_name(tmp_path):
    path = tmp_path / "pairs.jsonl"

    def interrupted():
        with PairWriter(path) as writer:
            for _ in range(100):
                writer.write(PAIR)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not path.exists()


def test_a_damaged_pairs_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"id": "a"}) + "\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: chosen: missing"):
        list(read_round_pairs(path))
    path.write_text("\n{\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: not JSON"):
        list(read_round_pairs(path))


@pytest.mark.parametrize("style", ["conversational", "plain"])
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_trls_dpo_trainer_takes_the_file_as_it_is(tmp_path, tiny_model, byte_tokenizer, style, format):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    path = tmp_path / f"pairs.{format}"
    write(path, format, style, byte_tokenizer)
    kind = {"jsonl": "json"}.get(format, format)
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        args=DPOConfig(str(tmp_path / "out"), report_to=[], bf16=False, use_cpu=True, max_length=None),
        train_dataset=load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")),
        processing_class=byte_tokenizer,
    )
    row = trainer.train_dataset[0]
    prompt = "[user]" + PAIR.prompt[0]["content"] + "<end>[assistant]"
    decoded = {name: byte_tokenizer.decode(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
    assert decoded == {
        "prompt_ids": prompt,
        "chosen_ids": "Answer: Ombra<end>",
        "rejected_ids": "Answer: Elbe<end>",
    }


def test_a_row_of_megabytes_is_one_row_and_pandas_is_not_imported():
    program = (
        "import json, sys; from longmab_pl.pairs.files import _schema, _table\n"
        "rows = [{'id': 'a', 'prompt': 'x' * 3_000_000, 'chosen_reward': 0.1, 'pair': 1}, {'id': 'b'}]\n"
        "table = _table('\\n'.join(map(json.dumps, rows)).encode(), _schema('plain'))\n"
        "assert [len(text or '') for text in table['prompt'].to_pylist()] == [3_000_000, 0]\n"
        "assert table['chosen_reward'].to_pylist() == [0.1, None] and table.schema == _schema('plain')\n"
        "assert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
