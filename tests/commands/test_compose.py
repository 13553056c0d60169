from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue

from bvrank.commands.compose import (
    check_searchpath,
    composed,
    flat_keys,
    frozen,
    opened,
    written,
)
from bvrank.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("schedule.alpha=[1,0]", "++schedule.alpha=[1,0]"),
        ("optimizer.options.eps=1", "++optimizer.options.eps=1"),
        ("optimizer.lr=1", "optimizer.lr=1"),
        ("schedule={}", "schedule={}"),
        ("schedule={alpha:[1,0]}", "++schedule={alpha:[1,0]}"),
        ("where={n:8}", "++where={n:8}"),
        ("+schedule.alpha=1", "+schedule.alpha=1"),
        ("scheduler.warmup=0", "scheduler.warmup=0"),
    ],
)
def test_open_nodes_take_new_keys(override: str, expected: str) -> None:
    assert opened(override) == expected
    assert opened(expected) == expected
    assert written(expected) == override


def test_what_the_user_opened_stays_open() -> None:
    assert written("++seed=1") == "++seed=1"


def test_open_nodes_reach_the_config() -> None:
    typed = ["schedule.alpha=[1,0]", "optimizer.options.eps=1e-6"]
    config = frozen(composed("train", ["data=pairs", "data.path=x", *typed]))
    assert config["schedule"] == {"alpha": [1, 0]}
    assert config["optimizer"]["options"] == {"eps": 1e-6}


def test_a_frozen_config_is_plain_and_without_hydra() -> None:
    config = frozen(composed("train"))
    assert type(config) is dict
    assert "hydra" not in config
    assert {"seed", "objective", "data", "engine", "model"} <= set(config)


def test_freezing_resolves_or_raises() -> None:
    assert frozen(OmegaConf.create({"a": 1, "b": "${a}"})) == {"a": 1, "b": 1}
    with pytest.raises(InterpolationKeyError):
        frozen(OmegaConf.create({"b": "${a}"}))
    with pytest.raises(MissingMandatoryValue):
        frozen(OmegaConf.create({"b": "???"}))


def test_packages_of_the_searchpath_are_trusted() -> None:
    config = OmegaConf.create({"trusted": ["mine"]})
    places = ["pkg://mylab.conf", "file:///tmp", "pkg://mylab.more"]
    assert frozen(config, places)["trusted"] == ["mine", "mylab"]
    assert "trusted" not in frozen(OmegaConf.create({"a": 1}), places)


def test_flat_keys() -> None:
    assert list(flat_keys({"a": {"b": 1, "c": {}}, "d": [1]})) == ["a", "a.b", "a.c", "d"]


@pytest.mark.parametrize("place", ["pkg://nolab.conf", "pkg://", "file:///no/such", "no/such"])
def test_a_place_that_is_not_there(place: str) -> None:
    with pytest.raises(ConfigError, match=r"^hydra.searchpath: \S+ cannot be found"):
        check_searchpath([f"hydra.searchpath=['{place}']"])


def test_places_that_are_there(tmp_path: Path) -> None:
    check_searchpath([f"hydra.searchpath=[pkg://bvrank.commands,'file://{tmp_path}']", "seed=1"])


def test_hydra_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hydra = composed("train").hydra
    assert hydra.output_subdir is None
    assert hydra.job_logging.root is None
    assert hydra.hydra_logging.root is None
    monkeypatch.setenv("BVRANK_SCRATCH", str(tmp_path))
    assert hydra.sweep.dir == str(tmp_path)


@pytest.mark.parametrize("where", ["file://{}", "pkg://{}"])
def test_an_option_that_would_never_be_read_is_refused(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("dpo", "mine"):
        path = tmp_path / "ourlab" / "objective" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# Ours.\n_target_: ourlab.x.X\n")
    place = where.format("ourlab" if where.startswith("pkg") else tmp_path / "ourlab")
    with pytest.raises(ConfigError, match=r"has objective/dpo\.yaml, which is an option") as caught:
        check_searchpath([f"hydra.searchpath=['{place}']"])
    assert caught.value.where == "hydra.searchpath"
    (tmp_path / "ourlab/objective/dpo.yaml").unlink()
    check_searchpath([f"hydra.searchpath=['{place}']"])
