from __future__ import annotations

import pytest
from hub_server import running_hub

from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.export.push import check_push, data_card, push_folder


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as found:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield found


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/README.md").write_text("---\ntags: [lora]\n---\n# card\n")
    (tmp_path / "out/adapter_model.safetensors").write_bytes(b"\x00" * 100)
    return tmp_path / "out"


def test_a_folder_is_put_on_a_hub_with_the_token_of_the_environment_only(hub, folder, capsys):
    push_folder(folder, "me/adapter", "model", True, "Adapter")
    assert hub.repositories[0]["name"] == "adapter"
    assert hub.repositories[0]["visibility"] == "private"
    assert hub.files["models/me/adapter/README.md"].startswith(b"---\ntags")
    assert hub.files["models/me/adapter/adapter_model.safetensors"] == b"\x00" * 100
    assert hub.tokens == {"Bearer hf_secret"}
    said = capsys.readouterr()
    assert "hf_secret" not in said.out + said.err
    assert not any(b"hf_secret" in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_hub_that_refuses_is_one_line(hub, folder):
    hub.refuses = True
    with pytest.raises(LongMabError, match="--push me/adapter: the hub refused or cannot be reached") as refused:
        push_folder(folder, "me/adapter", "model", True, "Adapter")
    assert len(str(refused.value).splitlines()) == 1
    assert "hf_secret" not in str(refused.value)


def test_names_and_logins_are_checked_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(ConfigError, match="give owner/name"):
        check_push("adapter")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ConfigError, match="no login to the hub"):
        check_push("me/adapter")


def test_the_card_of_pairs_says_what_they_are():
    card = data_card("me/pairs", 1200, 2, "conversational", "a/b\n# evil")
    assert card.startswith("---\ntags: [preference")
    assert "1,200 preference pairs of 2 on-policy rounds" in card
    assert "\n# evil" not in card
