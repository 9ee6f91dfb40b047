"""`pairs --push` and `export --push` as processes of their own, against a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, running_hub
from small_config import write_config
from tiny_adapters import save_adapter

from longmab_pl.cli.main import main

TOKEN = "hf_secret"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as found:
        yield found


def run(hub: Hub, folder: Path, *args: str | Path, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """Run a command whose hub is the given one; an empty token is no login."""
    home = {"HF_HOME": str(folder / "hub"), "HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "longmab_pl", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **home}, cwd=folder)


def assert_kept_secret(folder: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert TOKEN not in ran.stdout + ran.stderr
    assert not [file for file in folder.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]


def test_pairs_are_put_on_a_hub_with_a_card(hub: Hub, tmp_path: Path, tiny_model: str) -> None:
    main(["rollout", "--config", str(write_config(tmp_path, tiny_model))])
    ran = run(hub, tmp_path, "pairs", tmp_path / "run", "--output", "pairs.jsonl", "--push", "me/pairs")
    assert ran.returncode == 0, ran.stderr
    assert f"pushed     {hub.url}/" in ran.stdout
    assert hub.repositories[0]["type"] == "dataset"
    assert hub.repositories[0]["visibility"] == "private"
    assert hub.files["datasets/me/pairs/train.jsonl"] == (tmp_path / "pairs.jsonl").read_bytes()
    assert len(hub.files["datasets/me/pairs/train.jsonl"].splitlines()) == 6
    assert b"6 preference pairs of 1 on-policy rounds" in hub.files["datasets/me/pairs/README.md"]
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert_kept_secret(tmp_path, ran)


def test_an_adapter_is_put_on_a_hub_with_its_card_and_tokenizer(hub: Hub, tmp_path: Path, tiny_model: str) -> None:
    adapter = save_adapter(tmp_path / "mine", tiny_model)
    named = ["--base_model", "me/tiny", "--push", "me/adapter", "--private", "false"]
    ran = run(hub, tmp_path, "export", adapter, "out", *named)
    assert ran.returncode == 0, ran.stderr
    assert hub.repositories[0]["visibility"] == "public"
    names = {name.removeprefix("models/me/adapter/") for name in hub.files}
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    sent = hub.files["models/me/adapter/adapter_model.safetensors"]
    assert sent == (tmp_path / "out/adapter/adapter_model.safetensors").read_bytes()
    config = json.loads(hub.files["models/me/adapter/adapter_config.json"])
    assert (config["r"], config["base_model_name_or_path"]) == (4, "me/tiny")
    assert not [name for name, content in hub.files.items() if str(tmp_path).encode() in content]
    assert_kept_secret(tmp_path, ran)


def test_a_push_without_a_login_is_refused_before_the_work(hub: Hub, tmp_path: Path) -> None:
    ran = run(hub, tmp_path, "pairs", "nowhere", "--output", "pairs.jsonl", "--push", "me/pairs", token="")
    assert ran.returncode == 2
    assert "no login to the hub" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert hub.repositories == []
