"""What `bvrank sample` is asked for: its settings, built and checked, nothing loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bvrank.commands.build import build, construct
from bvrank.commands.launch import Launcher
from bvrank.commands.ranges import at_least, share
from bvrank.commands.sections import Rendering
from bvrank.commands.settings import SEEDS
from bvrank.data.fingerprint import fingerprint
from bvrank.errors import ConfigError
from bvrank.paths import store_dir
from bvrank.rewards.recorded import Recorded
from bvrank.run.files import to_json
from bvrank.run.identity import IGNORED, canonical
from bvrank.sampling.selection import Selection

GROUPS = ("model", "prompts", "sampler", "reward", "launcher")
# What decides the responses; the rest of the config decides what is made of them, or nothing.
RESPONSES = ("model", "prompts", "sampler", "seed", "n", "modes", "template", "precision")
TRAINING = "optimizer"  # what model=hf says of training
PASSING = (*IGNORED, "dry_run", TRAINING)
TOLERANCE = {"fp32": 1e-4, "bf16": 0.1}  # nats per token


@dataclass(frozen=True)
class Check:
    """Of how many prompts a response of each mode is compared, and how far the log-probabilities
    may lie apart (nats per token; None: 1e-4 in fp32, 0.1 in bf16)."""

    rows: int
    tolerance: float | None

    def __post_init__(self) -> None:
        at_least("rows", self.rows, 0)
        at_least("tolerance", self.tolerance, 0)


@dataclass(frozen=True)
class Settings:
    """conf/sample.yaml without its groups; the comments there say what each key means."""

    seed: int
    n: int
    modes: list[Literal["thinking", "nothinking"]]
    select: Selection
    check: Check
    formats: list[Literal["parquet", "jsonl"]]
    precision: Literal["fp32", "bf16"]
    device: str
    template: Rendering
    max_refused: float
    dry_run: bool
    force: bool
    name: str | None
    outputs: str
    store: str | None
    trusted: list[str]

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        if self.seed > SEEDS // 2:
            raise ConfigError(f"must be at most {SEEDS // 2}, got {self.seed}", where="seed")
        if self.n < 2:
            raise ConfigError(f"must be at least 2 to make a pair, got {self.n}", where="n")
        share("max_refused", self.max_refused)
        for name in ("modes", "formats"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise ConfigError("must name one or more, each once", where=name)
        if not self.outputs.strip():
            raise ConfigError("must name a folder", where="outputs")

    @property
    def tolerance(self) -> float:
        """Nats per token."""
        given = self.check.tolerance
        return TOLERANCE[self.precision] if given is None else given


@dataclass(frozen=True)
class Request:
    """The config, checked and built."""

    config: dict[str, Any]
    settings: Settings
    model: Any
    prompts: Any
    sampler: Any
    reward: Any
    launcher: Launcher
    store: Path
    content: str
    name: str

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return Path(self.settings.outputs).expanduser() / self.name

    @property
    def kept(self) -> dict[str, Any]:
        """The config as the folder keeps it."""
        return {k: v for k, v in self.config.items() if k not in ("dry_run", TRAINING)}

    @property
    def responses(self) -> str:
        """What decides the responses, as a hash."""
        return digest(self.config, RESPONSES, self.content)


def request(config: dict[str, Any]) -> Request:
    """Every part of the config, checked and built. ConfigError names the first misfit."""
    values = {k: v for k, v in config.items() if k not in (*GROUPS, TRAINING)}
    settings: Settings = construct(Settings, values, "")
    trusted = settings.trusted
    prompts = build(config["prompts"], "prompts", trusted)
    sampler = build(config["sampler"], "sampler", trusted)
    reward = build(config["reward"], "reward", trusted)
    launcher: Launcher = build(config["launcher"], "launcher")
    _check_pair(settings, sampler, reward)
    model = build(config["model"], "model", trusted) if sampler.needs_model else None
    content = fingerprint({g: config[g] for g in ("prompts", "sampler", "model", "reward")})
    return Request(
        config, settings, model, prompts, sampler, reward, launcher, store_dir(settings.store),
        content, settings.name or _name(config, content),
    )  # fmt: skip


def _check_pair(settings: Settings, sampler: Any, reward: Any) -> None:
    """ConfigError for recorded responses of another mode, or without the score that is wanted."""
    mode = getattr(sampler, "mode", None)
    if mode is not None and settings.modes != [mode]:
        raise ConfigError(f"recorded responses are of one mode, sampler.mode={mode}", where="modes",
                          repair=f"Write modes=[{mode}].")  # fmt: skip
    if isinstance(reward, Recorded) and getattr(sampler, "score_column", None) is None:
        raise ConfigError("wants responses that bring a score", where="reward",
                          repair="Write sampler=recorded sampler.score_column=...")  # fmt: skip


def digest(config: Mapping[str, Any], keys: tuple[str, ...], content: str) -> str:
    """Equal where those keys and the files they name are."""
    text = to_json([canonical({k: config[k] for k in keys}), content])
    return hashlib.sha256(text.encode()).hexdigest()


def _name(config: Mapping[str, Any], content: str) -> str:
    kind = str(config["prompts"]["_target_"]).rpartition(".")[2].lower()
    drawn = str(config["sampler"]["_target_"]).rpartition(".")[2].lower()
    keys = tuple(k for k in config if k not in PASSING)
    return f"{kind}-{drawn}-s{config['seed']}-{digest(config, keys, content)[:8]}"
