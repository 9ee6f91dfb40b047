"""Folders put on a hub. The token comes from the environment or the hub's own login, and is never written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from longmab_pl.errors import ConfigError, LongMabError
from longmab_pl.shown import first_line, quoted

RepoKind = Literal["model", "dataset"]

_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def check_push(name: str) -> None:
    """Refuse a name that is not `owner/name`, and a push without a login, before any work is done.

    Raises:
        ConfigError: the name or the login cannot be used.
    """
    from huggingface_hub import get_token

    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"--push {quoted(name)}: give owner/name, as the hub writes it")
    if not get_token():
        raise ConfigError(f"--push {name}: no login to the hub; `hf auth login`, or set HF_TOKEN in the environment")


def push_folder(folder: Path, name: str, kind: RepoKind, private: bool, message: str) -> str:
    """Upload a folder's files as one commit, into a repository that is made if missing, and return its address.

    Args:
        folder: folder to upload.
        name: `owner/name`.
        kind: kind of repository.
        private: whether a new repository is private; an existing one stays as it is.
        message: the commit's message.

    Raises:
        ConfigError: as for `check_push`.
        LongMabError: the hub refused, or cannot be reached.
    """
    from huggingface_hub import HfApi

    check_push(name)
    api = HfApi()
    try:
        url = api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, repo_type=kind, commit_message=message)
    except Exception as error:  # network, rights, quota: the hub's client raises many types
        raise LongMabError(
            f"--push {name}: the hub refused or cannot be reached: {first_line(error)}; what was to be pushed is in "
            f"{folder}"
        ) from error
    return str(url)


def data_card(name: str, pairs: int, rounds: int, style: str, model: str) -> str:
    """Return the card of a data set of pairs.

    Args:
        name: `owner/name`.
        pairs: number of pairs.
        rounds: number of rounds that they are from.
        style: form of the rows, as in `longmab pairs`.
        model: the model whose answers they compare.
    """
    return (
        "---\n"
        "tags: [preference, dpo, long-context, longmab]\n"
        "task_categories: [text-generation]\n"
        "---\n\n"
        f"# {name}\n\n"
        f"{pairs:,} preference pairs of {rounds} on-policy rounds of longmab_pl: answers of `{_plain(model)}` to "
        "questions about long documents, scored and compared.\n\n"
        f"- Rows have `prompt`, `chosen` and `rejected` ({style} form), which TRL's `DPOTrainer` takes, "
        "their rewards, and where in the rollout they are from.\n"
        f'- `datasets.load_dataset("{name}")`, or `longmab fit --config preferences --train {name}`.\n'
        "- The documents and questions are those of the training records; their license holds for the rows too.\n"
    )


def _plain(text: str) -> str:
    return re.sub(r"[^\w./:@ -]", "_", text)[:200]
