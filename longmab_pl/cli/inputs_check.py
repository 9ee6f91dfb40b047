"""Model and data of a run looked for before a library is imported: files are read, hubs asked once, within seconds."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longmab_pl.cli.settings.merged import MergedConfig, Section
from longmab_pl.errors import ConfigError, LongMabError

READ_BYTES = 50_000_000
"""Largest data file that is read twice, in bytes: about a second."""

HUB_SECONDS = 8.0
"""Time that a hub is given to answer, in seconds."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def refuse_missing_documents(folder: str) -> None:
    """Refuse a folder of documents that is not there or has no document.

    Raises:
        DataError: what is missing, and the fix.
    """
    from longmab_pl.data.documents import document_paths

    document_paths(folder)


def refuse_missing_inputs(config: MergedConfig, made: Path | None = None) -> None:
    """Refuse a run whose model or data is not there, or whose data file has bad records.

    Args:
        config: the run's settings.
        made: folder of data that the run makes before it reads them; None: none.

    Raises:
        ConfigError, DataError: what is missing, and the fix.
    """
    model = str(config.value("model", "model", default=""))
    if model:
        _refuse_wrong_name(model)
    for source, settings in _sources(config):
        if made is None or Path(source).parent != made:
            _refuse_bad_source(source, settings)
    _refuse_answers_alone(config)
    _ask_for_model(model, "model.model")


def refuse_missing_model(model: str, adapter: str | None = None, setting: str = "--model") -> None:
    """Refuse a model that is not there, and an adapter that is none or another model's.

    Args:
        model: a folder, a hub name or a bundled name.
        adapter: a PEFT folder, or None.
        setting: how the model was given, for messages.

    Raises:
        ConfigError, EngineError: what is missing or does not fit, and the fix.
    """
    from longmab_pl.models.adapter_files import refuse_other_base
    from longmab_pl.models.bundled import BUNDLED_MODELS, converted_folder

    _refuse_wrong_name(model)
    if adapter is not None:
        refuse_other_base(adapter, str(converted_folder()) if model in BUNDLED_MODELS else model, model)
    _ask_for_model(model, setting)


def _refuse_wrong_name(model: str) -> None:
    from longmab_pl.models.hub import BUNDLED_MODELS, usable_name

    if model not in BUNDLED_MODELS:
        usable_name(model)


def _ask_for_model(model: str, setting: str) -> None:
    if _HUB_NAME.fullmatch(model) and not Path(model).exists():
        ask_hub("model", model, setting)


def _sources(config: MergedConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every QA source of the config with the settings that it is read by."""
    if config.class_name("data") == "RolloutDataModule":
        names = ("on_bad_record", "fields", "split", "limit")
        settings = {name: config.value("data", name) for name in names}
        yield str(config.value("data", "train", default="shipped:synthetic_train")), settings
    for suite in config.suites():
        if isinstance(suite, Section) and str(suite.class_path).endswith("QASuite") and not suite.inner.get("tasks"):
            data = suite.inner.get("data")
            if isinstance(data, str):
                yield data, {name: suite.inner.get(name) for name in ("on_bad_record", "fields", "split")}


def _refuse_answers_alone(config: MergedConfig) -> None:
    """Refuse a local file without worse answers for phases that compare two; phases of other classes say it later."""
    if config.class_name("data") != "PreferenceDataModule" or not _compares(config):
        return
    from longmab_pl.pairs.kinds import refuse_answers_alone

    split = str(config.value("data", "split", default="train"))
    columns = config.value("data", "columns")
    for name in ("train", "val"):
        source = config.value("data", name)
        path = Path(str(source)).expanduser()
        if source is not None and path.is_file() and path.stat().st_size <= READ_BYTES:
            refuse_answers_alone(f"data.{name}", str(source), split, columns if isinstance(columns, dict) else None)


def _compares(config: MergedConfig) -> bool:
    """Return whether a phase surely compares two answers: a PreferencePhase, which is also the default."""
    phases = config.value("model", "phases")
    if not phases:
        return True
    named = [phase.class_path if isinstance(phase, Section) else phase for phase in phases]
    return any(str(name).rpartition(".")[2] == "PreferencePhase" for name in named)


def _refuse_bad_source(source: str, settings: dict[str, Any]) -> None:
    from longmab_pl.data.readers import read_records

    path = Path(source).expanduser()
    given = {name: value for name, value in settings.items() if value is not None}
    if path.is_file():
        if path.stat().st_size <= READ_BYTES and path.suffix.lower() in (".jsonl", ".json"):
            read_records(source, **given)
    elif path.suffix or source.startswith((".", "/", "~")):
        read_records(source, **given)  # it says what is near
    elif _HUB_NAME.fullmatch(source.partition(":")[0]) and not path.exists():
        ask_hub("data set", source.partition(":")[0])


def ask_hub(kind: str, name: str, setting: str = "") -> None:
    """Ask the hub once whether a model or data set is there; one in the local cache is not asked for.

    Args:
        kind: `model` or `data set`.
        name: `owner/name`.
        setting: how it was given, for the message; "": by the config.

    Raises:
        ConfigError: there is none, it needs a login, or the hub cannot be reached within `HUB_SECONDS`.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache

    if kind == "model" and isinstance(try_to_load_from_cache(name, "config.json"), str):
        return
    found: list[BaseException | None] = []

    def ask() -> None:
        try:
            api = HfApi()
            (api.model_info if kind == "model" else api.dataset_info)(name, timeout=HUB_SECONDS / 2)
            found.append(None)
        except BaseException as error:
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_SECONDS)
    failure = found[0] if found else TimeoutError(f"no answer within {HUB_SECONDS:g} s")
    if failure is not None:
        raise hub_error(kind, name, failure, setting)


def hub_error(kind: str, name: str, failure: BaseException, setting: str = "") -> LongMabError:
    """Return the error for a hub's failure, in one line.

    Args:
        kind: `model` or `data set`.
        name: `owner/name`.
        failure: what the hub's client raised.
        setting: how it was given; "": by the config.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    setting = setting or ("model.model" if kind == "model" else "data.train")
    if isinstance(failure, GatedRepoError):
        return ConfigError(f"{setting} {name}: the hub wants an agreement first; accept it there, then `hf auth login`")
    if isinstance(failure, RepositoryNotFoundError):
        return ConfigError(
            f"{setting} {name}: the hub has no such {kind} (or it is private: `hf auth login`); check the spelling, or "
            "give a local path"
        )
    return ConfigError(
        f"{setting} {name}: not a local path, and the hub cannot be reached ({type(failure).__name__}); check the "
        "network, or give a local path"
    )
