"""What vectors name without holding it: contexts by id, and the tokenizer that they were made with."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASSETS = Path(__file__).parents[1] / "assets"


@cache
def contexts() -> dict[str, str]:
    """Return the contexts of xquad_train.jsonl by record id."""
    return json.loads(lzma.decompress((ASSETS / "parity" / "contexts.json.xz").read_bytes()))


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """Return the tokenizer of SmolLM2 with its chat template."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(ASSETS / "tokenizer" / name, Path(folder) / name)
        packed = (ASSETS / "tokenizer" / "tokenizer.json.gz").read_bytes()
        (Path(folder) / "tokenizer.json").write_bytes(gzip.decompress(packed))
        return AutoTokenizer.from_pretrained(folder)
