"""The run's settings as a file, and as hyper-parameters of its loggers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from longmab_pl.callbacks.run_logging import versions

LOGS = "lightning_logs"
"""Lightning's own folder for logs, in the run folder."""


class LoggedConfig(SaveConfigCallback):
    """The run's `config.yaml`, also given to the loggers as hyper-parameters, with the versions of the packages.

    It lies where the first logger keeps its files. Loggers with files elsewhere (a server) or in the run folder itself,
    where a `config.yaml` may be the user's, leave it to `lightning_logs/config.yaml` in the run folder.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        run, logs = trainer.default_root_dir, trainer.log_dir
        self.save_to_log_dir = logs is not None and (not run or Path(logs).absolute() != Path(run).absolute())
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self.save_to_log_dir:
            folder = Path(trainer.default_root_dir) / LOGS
            folder.mkdir(parents=True, exist_ok=True)
            self.parser.save(self.config, folder / self.config_filename, skip_none=False, overwrite=True)
        settings = {**flat(self.config.as_dict()), **versions()}
        settings.pop("config", None)  # the files' names; what they hold is here
        for logger in trainer.loggers:
            logger.log_hyperparams(settings)


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested settings by dotted names, without `init_args`.

    Example:
        >>> flat({"model": {"lora": {"r": 8}}})
        {'model.lora.r': 8}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = above if key == "init_args" else f"{above}.{key}".lstrip(".")
        if isinstance(value, Mapping) and value:
            found |= flat(value, name)
        else:
            found[name] = value if isinstance(value, str | int | float | bool) else str(value)
    return found
