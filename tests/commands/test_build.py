from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from bvrank.commands.build import build, construct, locate, trackers_of
from bvrank.errors import ConfigError

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]

HERE = __name__
TRUSTED = (HERE.split(".")[0],)


@dataclass(frozen=True)
class Inner:
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError("must be positive", where="size", repair="Try 1.")


@dataclass(frozen=True)
class Parent:
    rate: float = 0.5


@dataclass(frozen=True)
class Sample(Parent):
    steps: int = 3
    shape: Literal["cosine", "linear"] = "cosine"
    label: str | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    inner: Inner = field(default_factory=Inner)
    parts: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)
    anything: Unknown | None = None  # type: ignore[name-defined]


class Plain:
    def __init__(self, path: Path, *, tokenizer: object, deep: dict[str, int] | None = None):
        self.path, self.tokenizer, self.deep = path, tokenizer, deep


def function(a: int, b: list[str]) -> tuple[int, list[str]]:
    if a == 13:
        raise ValueError("13 brings bad luck")
    return a, b


def node(name: str, **values: Any) -> dict[str, Any]:
    return {"_target_": f"{HERE}.{name}", **values}


def made(name: str, **values: Any) -> Any:
    return build(node(name, **values), "objective", TRUSTED)


def refusal(name: str, **values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        made(name, **values)
    return str(caught.value)


def test_defaults_are_the_constructors() -> None:
    assert made("Sample") == Sample()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rate": 1}, Sample(rate=1.0)),  # a whole number is a number; the field is inherited
        ({"rate": float("inf")}, Sample(rate=float("inf"))),
        ({"betas": [0, 1]}, Sample(betas=(0.0, 1.0))),  # YAML has no tuples
        ({"label": None}, Sample()),
        ({"label": "x"}, Sample(label="x")),
        ({"shape": "linear"}, Sample(shape="linear")),
        ({"inner": {"size": 2}}, Sample(inner=Inner(2))),
        ({"inner": node("Inner", size=2)}, Sample(inner=Inner(2))),
        ({"parts": [node("Inner"), 3]}, Sample(parts=(Inner(), 3))),
        ({"named": {"a": node("Inner", size=2)}}, Sample(named={"a": Inner(2)})),
        ({"anything": [1]}, Sample(anything=[1])),  # a name that only type checkers know
    ],
)
def test_values_become_what_the_annotation_says(values: dict[str, Any], expected: Sample) -> None:
    assert made("Sample", **values) == expected
    assert type(made("Sample", **values).rate) is float


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"rat": 1}, "objective.rat: there is no such key. Did you mean 'rate'?"),
        ({"steps": 1.0}, "objective.steps: must be a whole number, got 1.0"),
        ({"steps": True}, "objective.steps: must be a whole number, got true"),
        ({"steps": "3"}, "objective.steps: must be a whole number, got '3'"),
        ({"steps": None}, "objective.steps: must be a whole number, got null"),
        ({"rate": True}, "objective.rate: must be a number, got true"),
        (
            {"shape": "cosin"},
            "objective.shape: must be one of cosine, linear, got 'cosin'. Did you mean 'cosine'?",
        ),
        (
            {"label": 3},
            "objective.label: must be text or null, got 3. "
            "As text it is written objective.label='\"3\"'",
        ),
        ({"betas": [0.9]}, "objective.betas: must be [a number, a number], got [0.9]"),
        ({"inner": {"size": 0}}, "objective.inner.size: must be positive. Try 1."),
        ({"inner": {"siz": 2}}, "objective.inner.siz: there is no such key. Did you mean 'size'?"),
        ({"parts": [node("Inner", size=0)]}, "objective.parts[0].size: must be positive. Try 1."),
        (
            {"named": {"a": [node("Inner", size=0)]}},
            "objective.named.a[0].size: must be positive. Try 1.",
        ),
        ({"inner": 3}, "objective.inner: must be keys with values, got 3"),
    ],
)
def test_what_does_not_fit_names_its_key(values: dict[str, Any], line: str) -> None:
    assert refusal("Sample", **values) == line


def test_functions_and_plain_classes_are_read_alike() -> None:
    assert made("function", a=1, b=["x"]) == (1, ["x"])
    assert refusal("function", a=1) == (
        "objective.b: needs a value. Add objective.b=... to the command."
    )
    assert refusal("function", a=1, b=[1]) == "objective.b[0]: must be text, got 1"
    assert refusal("function", a=13, b=[]) == "objective: 13 brings bad luck"
    plain = build(node("Plain", path="x", deep={"k": 1}), "data", TRUSTED, tokenizer=len)
    assert (plain.path, plain.tokenizer, plain.deep) == (Path("x"), len, {"k": 1})


def test_an_argument_of_the_program_is_no_key() -> None:
    with pytest.raises(
        ConfigError, match=r"^data.tokenizer: there is no such key. Known: deep, path"
    ):
        build(node("Plain", path="x", tokenizer=3), "data", TRUSTED, tokenizer=len)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("os.system", "k: 'os.system' lies outside bvrank. Name its package: "),
        ("bvrank.nope.X", "k: 'bvrank.nope.X' cannot be imported (No module named 'bvrank.nope')"),
        ("bvrank.errors.Nope", "k: 'bvrank.errors.Nope' cannot be imported (module 'bvrank.err"),
        ("bvrank", "k: 'bvrank' cannot be imported"),
        ("bvrank.__version__", "k: 'bvrank.__version__' is not a class or function"),
        ("bvrank.paths.Path", "k: 'bvrank.paths.Path' is imported there, but not bvrank's own"),
        ("bvrank..x", "k: must be a dotted path, got 'bvrank..x'"),
        (3, "k: must be a dotted path, got 3"),
    ],
)
def test_only_our_names_are_imported(name: Any, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(name, "k")
    assert str(caught.value).startswith(line)


def test_a_broken_module_of_the_users_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mylab_broken.py").write_text("import nothing_like_this")
    with pytest.raises(
        ConfigError, match=r"cannot be imported .No module named 'nothing_like_this'"
    ):
        locate("mylab_broken.X", "objective._target_", ["mylab_broken"])
    assert "mylab_broken" not in sys.modules


@pytest.mark.parametrize("value", [None, 3, {}, {"alpha": 1}, "bvpo"])
def test_a_node_must_name_what_it_builds(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^objective: names nothing to build"):
        build(value, "objective")


def test_without_a_key_the_field_stands_alone() -> None:
    with pytest.raises(ConfigError, match=r"^size: must be positive"):
        construct(Inner, {"size": 0}, "")


def test_trackers_are_built_by_name_and_a_wrong_key_is_told_with_it() -> None:
    nodes = {"wandb": {"_target_": "bvrank.tracking.wandb.Wandb", "tags": ["a"]},
             "tensorboard": {"_target_": "bvrank.tracking.tensorboard.TensorBoard"}}  # fmt: skip
    wandb, tensorboard = trackers_of(nodes)
    assert wandb.tags == ("a",)
    assert tensorboard.tracker(0) is not None
    assert trackers_of({}) == []
    for node, where in (({"mode": "onlin"}, "mode"), ({"projct": "x"}, "projct")):
        with pytest.raises(ConfigError) as caught:
            trackers_of({"wandb": nodes["wandb"] | node})
        assert caught.value.where == f"tracker.wandb.{where}"
