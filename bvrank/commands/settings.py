"""The settings of `bvrank train` outside the config groups, typed and in range.

A field's type and the checks below are the schema of conf/train.yaml; `train_settings` names the
key of whatever does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bvrank.commands.build import construct
from bvrank.commands.ranges import at_least, share
from bvrank.commands.sections import (
    Auto,
    Checkpoint,
    Eval,
    Examples,
    Log,
    Optimizer,
    Probe,
    Rendering,
    Scheduler,
    Scoring,
    Trainer,
)
from bvrank.errors import ConfigError

GROUPS = ("objective", "data", "engine", "launcher", "model", "experiment", "tracker")
SEEDS = 2**63 - 1


@dataclass(frozen=True)
class Intake:
    """The keys that every node of the group `data` has beside its source's own."""

    eval_path: str | None = None
    eval_fraction: float = 0.0
    max_length: int = 4096
    overlong: Literal["drop", "error", "truncate_trace_middle"] = "drop"
    max_refused: float = 0.01

    def __post_init__(self) -> None:
        share("eval_fraction", self.eval_fraction, open_high=True)
        at_least("max_length", self.max_length, 2)
        share("max_refused", self.max_refused)
        if self.eval_path is not None and self.eval_fraction > 0:
            raise ConfigError(
                "held-out rows come from data.eval_path already",
                where="eval_fraction",
                repair="Leave one of the two out.",
            )


@dataclass(frozen=True)
class TrainSettings:
    """conf/train.yaml without its groups; the comments there say what each key means."""

    seed: int
    steps: int
    batch: int
    micro: int | None
    micro_tokens: int | None
    optimizer: Optimizer
    scheduler: Scheduler
    schedule: dict[str, Any]
    max_grad_norm: float
    precision: Literal["fp32", "bf16", "fp64"]
    activation_checkpointing: bool | Literal["selective"]
    compile: bool
    template: Rendering
    scoring: Scoring
    trainer: Trainer
    probe: Probe
    auto: Auto
    eval: Eval
    checkpoint: Checkpoint
    log: Log
    examples: Examples
    resume: bool
    force: bool
    name: str | None
    outputs: str
    store: str | None
    trusted: list[str]

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        if self.seed > SEEDS:
            raise ConfigError(f"must be at most {SEEDS}, got {self.seed}", where="seed")
        if self.compile and self.precision == "fp64":
            raise ConfigError("fp64 is exact only as torch runs it eagerly", where="compile",
                              repair="Set compile=false, or precision=fp32.")  # fmt: skip
        if self.compile and self.activation_checkpointing:
            raise ConfigError("has no effect on layers that are recomputed", where="compile",
                              repair="Leave activation_checkpointing or compile out.")  # fmt: skip
        if self.micro is not None and self.micro_tokens is not None:
            raise ConfigError("says the same as micro", where="micro_tokens",
                              repair="Leave one of the two out.")  # fmt: skip
        if self.micro_tokens is not None and self.trainer.reduction != "global":
            raise ConfigError("needs micro-batches of one size", where="trainer.reduction",
                              repair="Use micro in place of micro_tokens.")  # fmt: skip
        for name in ("steps", "batch", "micro", "micro_tokens"):
            at_least(name, getattr(self, name), 1)
        if not self.max_grad_norm > 0:  # infinity is allowed: it clips nothing
            raise ConfigError(
                f"must be greater than 0, got {self.max_grad_norm}", where="max_grad_norm"
            )
        if self.batch % self.per_forward(1):
            raise ConfigError(
                f"must divide batch={self.batch}, got {self.micro}",
                where="micro",
                repair="batch / micro is the number of accumulated forwards.",
            )
        check_place(self.name, self.outputs)
        if self.resume and self.force:
            raise ConfigError(
                "contradicts force=true", where="resume", repair="Go on, or start anew."
            )

    def per_forward(self, ranks: int) -> int:
        """Examples per forward of one of `ranks` processes."""
        return self.batch // ranks if self.micro is None else self.micro

    def forwards(self, ranks: int) -> int:
        """Forwards per step of each of `ranks` processes; 0 where each step has its own number.
        ConfigError when they cannot share."""
        if self.micro_tokens is not None:
            return 0
        if self.batch % ranks or self.batch % (ranks * self.per_forward(ranks)):
            asked = f"micro={self.micro} x " if self.micro else ""
            raise ConfigError(
                f"must be a multiple of {asked}{ranks} processes, got {self.batch}", where="batch",
                repair="batch counts examples per step over all processes.",
            )  # fmt: skip
        return self.batch // (ranks * self.per_forward(ranks))


def check_place(name: str | None, outputs: str) -> None:
    """ConfigError unless `outputs` names a folder, and `name` (None: by content) one in it."""
    if name is not None and (name.strip() in ("", ".", "..") or {"/", "\0"} & {*name}):
        raise ConfigError(
            f"must be one folder's name, got {name!r}",
            where="name",
            repair="The folder above it is `outputs`.",
        )
    if not outputs.strip():
        raise ConfigError("must name a folder", where="outputs")


def train_settings(config: Mapping[str, Any]) -> TrainSettings:
    """The settings in the resolved config of `bvrank train`; ConfigError names the wrong key."""
    values = {key: value for key, value in config.items() if key not in GROUPS}
    settings: TrainSettings = construct(TrainSettings, values, "")
    return settings


def split_intake(node: Mapping[str, Any], key: str = "data") -> tuple[Intake, dict[str, Any]]:
    """A `data` node as its common keys, checked, and the source's own node for `build`."""
    if not isinstance(node, Mapping):
        raise ConfigError("names no source", where=key, repair="Choose an option of the group.")
    common = {k: v for k, v in node.items() if k in Intake.__dataclass_fields__}
    intake: Intake = construct(Intake, common, key)
    return intake, {k: v for k, v in node.items() if k not in common}
