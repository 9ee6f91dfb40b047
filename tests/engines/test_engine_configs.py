"""The shipped fragments that put another engine into a run."""

from __future__ import annotations

import pytest
import yaml

from longmab_pl.cli.main import main


@pytest.mark.parametrize(
    ("fragment", "engine", "setting"),
    [
        ("engine-server", "longmab_pl.engines.ServerEngine", {"servers": ["http://127.0.0.1:8000"]}),
        ("engine-launch", "longmab_pl.engines.ServerEngine", {"servers": None}),
        ("engine-transformers", "longmab_pl.engines.TransformersEngine", {"concurrency": 8}),
    ],
)
@pytest.mark.parametrize("run", ["demo", "paper"])
def test_a_fragment_replaces_the_engine_and_nothing_else(
    fragment: str, engine: str, setting: dict, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def data_of(*configs: str) -> dict:
        arguments = [argument for config in configs for argument in ("--config", config)]
        with pytest.raises(SystemExit) as stopped:
            main(["fit", *arguments, "--print_config"])
        assert stopped.value.code == 0
        return yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]

    plain, composed = data_of(run), data_of(run, fragment)
    found, replaced = composed.pop("engine"), plain.pop("engine")
    assert composed == plain
    assert found["class_path"] == engine
    assert setting.items() <= found["init_args"].items()
    assert found["init_args"]["max_model_len"] == replaced["init_args"]["max_model_len"]
