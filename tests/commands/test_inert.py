"""An option of a search path can say what to train, not what to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bvrank.commands.compose import composed
from bvrank.errors import ConfigError
from tests.commands.line import Call

TOUCH = "_target_: os.system\n      command: touch {mark}"
ACTING = {
    "hydra.callbacks": f"hydra:\n  callbacks:\n    x:\n      {TOUCH}",
    "hydra.job.env_set": "hydra:\n  job:\n    env_set: {LD_PRELOAD: x.so}",
    "hydra.job_logging.root": "hydra:\n  job_logging:\n    root: {handlers: [x]}\n"
    "    handlers:\n      x: {(): os.getpid}",
    "hydra.sweeper": "hydra:\n  sweeper:\n    params:\n      seed:\n"
    "        _target_: pathlib.Path.touch\n"
    "        _args_: [{_target_: pathlib.Path, _args_: [{mark}]}]",
    "hydra.launcher": "hydra:\n  launcher:\n    _target_: os.getpid",
    "trusted": "trusted: [os]\nobjective:\n  _target_: os.system",
}
MODES = [(), ("-m", "seed=0,1"), ("--cfg", "job"), ("-m", "experiment=planted,planted")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "experiment").mkdir()
    return tmp_path


def planted(place: Path, text: str) -> tuple[str, ...]:
    """Words that choose an option of this content."""
    option = f"# @package _global_\n# Planted.\n{text.replace('{mark}', str(place / 'mark'))}\n"
    (place / "experiment" / "planted.yaml").write_text(option)
    return (f"hydra.searchpath=[file://{place}]", "experiment=planted")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("key", ACTING)
def test_no_option_of_a_search_path_runs_code_or_widens_trust(
    key: str, mode: tuple[str, ...], place: Path, bvrank: Callable[..., Call]
) -> None:
    words = planted(place, ACTING[key])
    if "experiment=planted,planted" in mode:
        words = words[:1]
    done = bvrank("train", *words, *mode)
    assert done.code == 2
    assert f"error: {key}: " in done.err
    assert done.config is None
    assert not (place / "mark").exists()


def test_the_command_line_may_trust_what_an_option_names(place: Path) -> None:
    words = planted(place, "trusted: [tests]")
    with pytest.raises(ConfigError, match=r"trusted=\[tests\]"):
        composed("train", words)
    assert list(composed("train", [*words, "trusted=[tests,mine]"]).trusted) == ["tests", "mine"]


def test_an_ordinary_option_of_a_search_path_works(
    place: Path, bvrank: Callable[..., Call]
) -> None:
    done = bvrank("train", *planted(place, "steps: 7"))
    assert done.code == 0
    assert done.config is not None
    assert done.config["steps"] == 7
