"""Every config composes, and everything it names can be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bvrank.commands.build import build, trackers_of
from bvrank.commands.compose import composed, frozen
from bvrank.commands.settings import split_intake, train_settings
from bvrank.errors import BvrankError, ConfigError
from tests.commands.line import ROOT

CONF = ROOT / "conf"
COMMANDS = sorted(p.stem for p in CONF.glob("*.yaml") if p.stem != "hydra_defaults")
TRAIN_GROUPS = ("objective", "data", "engine", "model", "experiment", "tracker")
OPTIONS = [(g, p.stem) for g in TRAIN_GROUPS for p in sorted((CONF / g).glob("*.yaml"))]
# What a user has to add to an option before it runs.
NEEDED = {
    ("data", "pairs"): ["data.path=pairs.jsonl"],
    ("data", "lists"): ["data.path=lists.jsonl"],
    ("data", "mix"): [
        "data.parts.thinking.source.path=a.jsonl",
        "data.parts.nothinking.source.path=b.jsonl",
    ],
    ("model", "hf"): ["model.path=some-model"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_and_uses_hydra_the_same_way(command: str) -> None:
    config = composed(command, partial=True)
    assert config.hydra.output_subdir is None
    assert config.hydra.help.header.strip()
    assert config.hydra.help.footer.strip()


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda word: str(word))
def test_every_option_composes_and_is_built(group: str, option: str) -> None:
    config = frozen(composed("train", [f"{group}={option}", *NEEDED.get((group, option), [])]))
    train_settings(config)
    build(config["objective"], "objective")
    build(config["engine"], "engine")
    accepted(config, group)


def accepted(config: dict[str, Any], group: str) -> None:
    """The node of `group` fits its constructor; whether its files exist is another matter."""
    node = split_intake(config[group])[1] if group == "data" else config.get(group)
    if group == "tracker":
        trackers_of(node or {})
    if group in ("experiment", "tracker"):
        return
    try:
        build(node, group)
    except ConfigError:
        raise
    except BvrankError as error:
        assert "some-model" in str(error) or ".jsonl" in str(error)


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF))
)
def test_every_file_begins_with_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    title = next(line for line in lines if not line.startswith("# @package"))
    assert title.startswith("# ") and len(title) > 10, title
