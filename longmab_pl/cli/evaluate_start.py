"""`longmab evaluate`: the start, which checks options, model and adapter before a library is imported."""

from __future__ import annotations

from collections.abc import Sequence

from longmab_pl.cli.arguments import call
from longmab_pl.cli.function_options import refuse_wrong_options
from longmab_pl.cli.inputs_check import refuse_missing_model
from longmab_pl.cli.run_log import start_log
from longmab_pl.cli.settings.classes import function_settings
from longmab_pl.cli.suite_options import chosen_suites, with_class_paths
from longmab_pl.evaluation.short_names import list_of_suites
from longmab_pl.live import step

EPILOG = """suites (--suite NAME[,NAME]; `--suite NAME --help` shows the settings):
"""

_MODULE, _NAME = "longmab_pl.cli.evaluate", "evaluate"


def run(args: Sequence[str]) -> None:
    """Run the command."""
    command, *given = args
    suites = chosen_suites(given)
    asked_for_help = bool({"-h", "--help"} & set(given))
    found = refuse_wrong_options(_MODULE, _NAME, args, {suite.name: suite.path for suite in suites})
    start_log()
    if "model" in found:
        refuse_missing_model(found["model"], found.get("adapter"))
    with step("loading the libraries"):
        from longmab_pl.cli.evaluate import evaluate
        from longmab_pl.cli.quiet import quiet_transformers

        quiet_transformers()
    if asked_for_help:
        for suite in suites[:1]:
            call(evaluate, [command, "--suite.help", suite.path])
        call(evaluate, [command, "--help"], epilog=EPILOG + list_of_suites())
    own = {setting.name for setting in function_settings(_MODULE, _NAME).settings} | {"config", "print_config", "help"}
    call(evaluate, [command, *with_class_paths(given, own)])
