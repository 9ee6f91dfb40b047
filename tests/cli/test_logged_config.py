"""Where the run's settings are kept, by the place of a logger's files."""

from __future__ import annotations

import pytest
import yaml
from loggers import EagerLogger
from small_config import write_config

from longmab_pl.cli.main import main
from longmab_pl.reporting.run_settings import saved_config


@pytest.fixture
def fit(tmp_path, tiny_model):
    """Arguments of a run whose config lies in the run folder itself."""
    (tmp_path / "run").mkdir()
    return ["fit", "--config", str(write_config(tmp_path, tiny_model).rename(tmp_path / "run" / "config.yaml"))]


@pytest.mark.parametrize("logger", ["NowhereLogger", "EagerLogger"])
def test_a_logger_without_a_log_folder_leaves_the_users_config_alone(tmp_path, fit, logger):
    run = tmp_path / "run"
    own = (run / "config.yaml").read_text()
    settings = [] if logger == "NowhereLogger" else ["--trainer.logger.init_args.save_dir", str(run)]
    main([*fit, "--trainer.logger", f"loggers.{logger}", *settings])
    assert (run / "config.yaml").read_text() == own
    whole = yaml.safe_load((run / "lightning_logs" / "config.yaml").read_text())
    assert whole["data"]["init_args"]["rounds"] == 1
    assert whole["model"]["lora"]["r"] == 2
    assert saved_config(run) == whole


def test_a_loggers_own_folder_holds_the_config(tmp_path, fit):
    main([*fit, "--logger", "csv"])
    (kept,) = (tmp_path / "run").rglob("version_0/config.yaml")
    assert yaml.safe_load(kept.read_text())["model"]["lora"]["alpha"] == 4


def test_a_failed_start_leaves_nothing_of_a_logger_that_wrote_at_once(tmp_path, fit):
    new = tmp_path / "new" / "run"
    logger = ["--trainer.logger", "loggers.EagerLogger", "--trainer.logger.init_args.save_dir", str(new)]
    with pytest.raises(SystemExit):
        main([*fit, *logger, "--output", str(new), "--trainer.max_epochs", "7"])  # refused as the Trainer is made
    assert str(new) in EagerLogger.made
    assert not new.parent.exists()
