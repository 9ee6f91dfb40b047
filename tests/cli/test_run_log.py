"""The log of a command: what of all messages reaches the console."""

from __future__ import annotations

from pathlib import Path

import longmab_pl
from longmab_pl.cli.run_log import is_own
from longmab_pl.configs import __file__ as configs_init


def test_only_the_packages_own_files_are_its_own():
    package = Path(longmab_pl.__file__).parent
    assert is_own(str(package / "training" / "module.py"))
    assert is_own(str(Path(configs_init).parents[1] / "callbacks" / "export.py"))
    # A clone in a folder of this name with an environment in it, as the Makefile makes one.
    assert not is_own("/home/me/longmab_pl/.venv/lib/python3.11/site-packages/torch/nn/modules/module.py")
    assert not is_own("/home/me/callbacks/project/.venv/lib/python3.11/site-packages/torch/nn/modules/module.py")
