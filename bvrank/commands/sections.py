"""The sections of conf/train.yaml, typed and in range."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bvrank.commands.build import construct
from bvrank.commands.ranges import at_least, share
from bvrank.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import torch

    from bvrank.data.templates import Template


@dataclass(frozen=True)
class Optimizer:
    """`name` is a class of torch.optim, `options` its own keywords besides the learning rate."""

    name: str
    lr: float
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least("lr", self.lr, 0.0, open_low=True)
        if "lr" in self.options:
            raise ConfigError("is set already", where="options.lr", repair="Use optimizer.lr.")

    def kind(self) -> type[torch.optim.Optimizer]:
        """The class, with `options` checked against its signature. Imports torch.

        ConfigError for a name that torch.optim lacks, an unknown option, a value it refuses, and
        an optimizer that cannot step on dense gradients alone (LBFGS, SparseAdam).
        """
        import torch

        kind = _optimizer(self.name)
        probe = torch.nn.Parameter(torch.zeros(1))
        probe.grad = torch.zeros(1)
        try:
            construct(kind, self.options, "optimizer.options", params=[probe], lr=self.lr).step()
        except ConfigError:
            raise
        except Exception as error:  # each optimizer trips in a way of its own
            why = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(
                f"{self.name} does not fit this trainer ({why})",
                where="optimizer.options" if self.options else "optimizer.name",
            ) from error
        return kind


@dataclass(frozen=True)
class Scheduler:
    """`warmup` is the share of the steps over which the learning rate rises."""

    shape: Literal["cosine", "linear", "constant"]
    warmup: float

    def __post_init__(self) -> None:
        share("warmup", self.warmup)


@dataclass(frozen=True)
class Scoring:
    """How candidates are laid out, and scored tokens per chunk of the head. `unshifted` reads each
    token's log-prob one place too late: see bvrank.scoring.layout."""

    layout: Literal["forest", "masked", "padded"]
    chunk: int | None
    reference: Literal["stored", "live", "adapter_off"] = "stored"
    unshifted: bool = False

    def __post_init__(self) -> None:
        if self.chunk is not None:
            at_least("chunk", self.chunk, 1)


@dataclass(frozen=True)
class Trainer:
    """How a step's losses become one: see bvrank.trainer.Plan."""

    reduction: Literal["global", "microbatch_sum"] = "global"


@dataclass(frozen=True)
class Gradients:
    """Every `every` steps (0: never); of `groups` groups of examples, by projections onto
    `dimension` entries."""

    every: int = 0
    groups: int = 8
    dimension: int = 8191

    def __post_init__(self) -> None:
        at_least("every", self.every, 0)
        at_least("groups", self.groups, 4)
        at_least("dimension", self.dimension, 16)


@dataclass(frozen=True)
class Probe:
    """What is measured of a run on its way: see bvrank.engines.probing."""

    gradients: Gradients = field(default_factory=Gradients)


@dataclass(frozen=True)
class Auto:
    """How objective.alpha=auto is estimated: see bvrank.engines.probing.Auto. `every` None: as
    often as estimates take few of the run's tokens (commands.probing.interval)."""

    every: int | None = None
    memory: float = 0.9
    min: float = 0.0
    max: float = 1.0

    def __post_init__(self) -> None:
        if self.every is not None:
            at_least("every", self.every, 1)
        share("memory", self.memory, open_high=True)
        share("min", self.min)
        share("max", self.max)
        if self.min > self.max:
            raise ConfigError(f"must be at most auto.max={self.max}, got {self.min}", where="min")


@dataclass(frozen=True)
class Eval:
    """Held-out rows (None: all), every `every` steps (0: at the end)."""

    every: int
    rows: int | None

    def __post_init__(self) -> None:
        at_least("every", self.every, 0)
        at_least("rows", self.rows, 1)


@dataclass(frozen=True)
class Checkpoint:
    """Every `every` steps (0: at the end); the newest `keep` stay, and the best by `best`."""

    every: int
    keep: int
    best: str | None

    def __post_init__(self) -> None:
        at_least("every", self.every, 0)
        at_least("keep", self.keep, 1)


@dataclass(frozen=True)
class Log:
    """A line of metrics.jsonl every `every` steps."""

    every: int

    def __post_init__(self) -> None:
        at_least("every", self.every, 1)


@dataclass(frozen=True)
class Examples:
    """Greedy completions of `count` prompts of each view (0: none), before and after."""

    count: int
    max_new_tokens: int

    def __post_init__(self) -> None:
        at_least("count", self.count, 0)
        at_least("max_new_tokens", self.max_new_tokens, 1)


@dataclass(frozen=True)
class Rendering:
    """How a tokenizer's chat template is used; None leaves the template's own way."""

    empty_block: str | None = None
    end_token: str | None = None
    file: str | None = None
    date: str = "2024-07-26"

    def text(self) -> str | None:
        """The chat template in `file`. ConfigError when it cannot be read."""
        if self.file is None:
            return None
        try:
            place = Path(self.file).expanduser()
            if place.exists() and not place.is_file():
                raise OSError("a folder, a pipe or a device, not a file")
            return place.read_text(encoding="utf-8")
        except (OSError, ValueError, RuntimeError) as error:  # of no home, of a null byte
            raise ConfigError(f"cannot be read ({error})", where="template.file") from error

    def template(self, tokenizer: Any) -> Template:
        """The adapter over `tokenizer`. ConfigError as of `text`."""
        from bvrank.data.templates import Template

        try:
            return Template(
                tokenizer,
                empty_block=self.empty_block,
                end_token=self.end_token,
                chat_template=self.text(),
                date=self.date,
            )
        except ConfigError as error:
            where = f"template.{error.where.removeprefix('template.')}"
            raise ConfigError(error.what, where=where, repair=error.repair) from error


def _optimizer(name: str) -> type[torch.optim.Optimizer]:
    from torch import optim

    kinds = {
        key: kind
        for key, kind in vars(optim).items()
        if inspect.isclass(kind) and issubclass(kind, optim.Optimizer) and key != "Optimizer"
    }
    if name not in kinds:
        raise ConfigError(
            f"torch.optim has no optimizer '{name}'",
            where="optimizer.name",
            repair=did_you_mean(name, kinds),
        )
    return kinds[name]
