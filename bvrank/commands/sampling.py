"""What `bvrank sample` is asked for: its settings, built and checked, nothing loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bvrank.commands.build import build, construct
from bvrank.commands.launch import Launcher
from bvrank.commands.origin import in_force, unheeded
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
TRAINING = "optimizer"  # what model=hf says of training
FILES = ("prompts", "sampler", "model", "template", "reward")  # may name files
USUAL = 4  # responses to each prompt in each mode
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
    """conf/sample.yaml without its groups; the comments there say what each key means. `n` is None
    where all responses that were recorded are wanted."""

    seed: int
    n: int | None
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
        if self.n is not None and self.n < 2:
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
    """The config, checked and built. `kept` is what of it decides anything; the folder keeps that,
    `files` and `content` (those, and the reward's identity) what else does."""

    config: dict[str, Any]
    kept: dict[str, Any]
    settings: Settings
    model: Any
    prompts: Any
    sampler: Any
    reward: Any
    launcher: Launcher
    store: Path
    files: str
    content: str
    name: str

    @property
    def parts(self) -> dict[str, Any]:
        """What may stay away in part, by name."""
        return {"sampler": self.sampler, "reward": self.reward}

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return Path(self.settings.outputs).expanduser() / self.name


def request(config: dict[str, Any]) -> Request:
    """Every part of the config, checked and built. ConfigError names the first misfit."""
    values = {k: v for k, v in config.items() if k not in (*GROUPS, TRAINING)}
    settings: Settings = construct(Settings, values, "")
    trusted = settings.trusted
    prompts = build(config["prompts"], "prompts", trusted)
    sampler = build(config["sampler"], "sampler", trusted)
    reward = build(config["reward"], "reward", trusted)
    launcher: Launcher = build(config["launcher"], "launcher")
    if settings.n is None and not hasattr(sampler, "survey"):
        settings, config = replace(settings, n=USUAL), {**config, "n": USUAL}
    _check_pair(settings, sampler, reward)
    _check_launcher(sampler, launcher)
    if not sampler.needs_model and (key := unheeded(config)):
        raise ConfigError("has no effect: no policy is loaded here", where=key,
                          repair="The sampler says where responses come from.")  # fmt: skip
    model = build(config["model"], "model", trusted) if sampler.needs_model else None
    kept = in_force(config, sampler.needs_model)
    kept = {k: v for k, v in kept.items() if k not in ("dry_run", TRAINING)}
    files = fingerprint({g: kept[g] for g in FILES if g in kept})
    content = hashlib.sha256(f"{files} {reward.identity}".encode()).hexdigest()[:16]
    return Request(
        config, kept, settings, model, prompts, sampler, reward, launcher,
        store_dir(settings.store), files, content, settings.name or _name(kept, content),
    )  # fmt: skip


def _check_pair(settings: Settings, sampler: Any, reward: Any) -> None:
    """ConfigError for recorded responses of another mode, or without the score that is wanted, and
    for responses that would all be the same one."""
    if getattr(sampler, "temperature", None) == 0:
        raise ConfigError(
            f"0 draws the same response {settings.n} times", where="sampler.temperature",
            repair="Pairs need responses that differ, so a temperature above 0.",
        )  # fmt: skip
    mode = getattr(sampler, "mode", None)
    if mode is not None and settings.modes != [mode]:
        raise ConfigError(f"recorded responses are of one mode, sampler.mode={mode}", where="modes",
                          repair=f"Write modes=[{mode}].")  # fmt: skip
    if isinstance(reward, Recorded) and getattr(sampler, "score_column", None) is None:
        raise ConfigError("wants responses that bring a score", where="reward",
                          repair="Write sampler=recorded sampler.score_column=...")  # fmt: skip


def _check_launcher(sampler: Any, launcher: Launcher) -> None:
    """ConfigError for several processes of a sampler that takes a machine for itself."""
    if getattr(sampler, "one_process", False) and launcher.here > 1:
        raise ConfigError(
            f"is {launcher.here}, but vLLM shares the GPUs of a machine itself",
            where="launcher.processes",
            repair="Write launcher.processes=1 sampler.tensor_parallel=<GPUs>.",
        )


def _name(config: Mapping[str, Any], content: str) -> str:
    kind = str(config["prompts"]["_target_"]).rpartition(".")[2].lower()
    drawn = str(config["sampler"]["_target_"]).rpartition(".")[2].lower()
    text = to_json([canonical({k: v for k, v in config.items() if k not in IGNORED}), content])
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{kind}-{drawn}-s{config['seed']}-{digest}"
