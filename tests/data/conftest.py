from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """SmolLM2's tokenizer, with which the reference vectors were made."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(ASSETS / "tokenizer" / name, folder / name)
    (folder / "tokenizer.json").write_bytes(gzip.decompress((ASSETS / "tokenizer" / "tokenizer.json.gz").read_bytes()))
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def contexts() -> dict[str, str]:
    """The contexts of the reference vectors by id."""
    return json.loads(gzip.decompress((ASSETS / "contexts.json.gz").read_bytes()))
