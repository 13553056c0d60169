"""`bvrank evaluate`: a policy and tasks -> figures with their uncertainty, and every sample."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bvrank.commands.absence import noted, too_many
from bvrank.commands.build import build, construct
from bvrank.commands.idle import DRAWN, check_heeded, draws
from bvrank.commands.origin import SERVER, in_force, less, task_in_force
from bvrank.commands.outcome import write_outcome
from bvrank.commands.ranges import at_least
from bvrank.commands.sections import Rendering
from bvrank.commands.settings import SEEDS
from bvrank.commands.subject import TINY, Subject, subject
from bvrank.commands.suites import clipped, task_nodes
from bvrank.data.fingerprint import contents, fingerprint
from bvrank.errors import ConfigError
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.result import RESULT, Result, read_result, write_result
from bvrank.paths import store_dir
from bvrank.run import open_run
from bvrank.run.files import to_json
from bvrank.run.folder import GO_ON, check_outputs, told
from bvrank.run.identity import canonical, flatten
from bvrank.run.methods import SUBJECT
from bvrank.run.record import is_run, read_manifest
from bvrank.secrets import redact

# Of a task's node, what decides how requests go their way and not what is asked.
TRANSPORT = ("batch", "judge.max_failed", "judge.server.base_url",
             *(f"judge.server.{key}" for key in SERVER))  # fmt: skip
TOLD = ("sampler", "modes", "seed", "n", "limit", "template", "precision")
SHORT = 48  # new tokens of the tiny model's responses


@dataclass(frozen=True)
class Settings:
    """conf/evaluate.yaml without its groups; the comments there say what each key means."""

    run: str | None
    checkpoint: int | Literal["final", "best"]
    modes: list[Literal["thinking", "nothinking"]]
    seed: int
    n: int | None
    limit: int | None
    precision: Literal["fp32", "bf16"]
    device: str
    template: Rendering
    force: bool
    outputs: str
    store: str | None
    trusted: list[str]

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        at_least("n", self.n, 1)
        at_least("limit", self.limit, 1)
        if self.seed > SEEDS // 2:
            raise ConfigError(f"must be at most {SEEDS // 2}, got {self.seed}", where="seed")
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise ConfigError("must name one or more, each once", where="modes")
        if not self.outputs.strip():
            raise ConfigError("must name a folder", where="outputs")


GROUPS = ("model", "sampler", "task", "suite", "tasks", "judge", "optimizer")


@dataclass(frozen=True)
class Asked:
    """The config, checked and built: what commands.policies.load takes too. `nodes`: of the tasks,
    by name; `remarks` on those whose results need one."""

    config: dict[str, Any]
    settings: Settings
    subject: Subject
    sampler: Any
    model: Any
    tasks: dict[str, Any]
    nodes: dict[str, Any]
    store: Path
    prompts: Any = None
    remarks: Mapping[str, str] = field(default_factory=dict)

    def kept(self, name: str) -> dict[str, Any]:
        """The config of one task as its folder keeps it."""
        local = self.model is not None
        kept = in_force(self.config, local)
        gone = ("task", "suite", "tasks", "judge", "optimizer", "run", "checkpoint", "model",
                "device", *(() if draws(self.tasks[name]) else DRAWN))  # fmt: skip
        kept = {k: v for k, v in kept.items() if k not in gone}
        kept["task"] = task_in_force(self.nodes[name])
        if draws(self.tasks[name]) and "n" in kept["task"]:  # which of the two said it is the same
            kept["n"] = kept["task"]["n"] = kept["n"] or kept["task"]["n"]
        own = {"model": dict(self.subject.node)} if self.subject.node is not None else {}
        return kept | own | {"version": self.tasks[name].version}

    def parts(self, name: str) -> dict[str, Any]:
        """What may stay away in part of what a task asks for."""
        task = self.tasks[name]
        own = {part: getattr(task, part, None) for part in ("reward", "judge")}
        return {"sampler": self.sampler, **own}

    def folder(self, name: str) -> Path:
        """Where a task's figures go: by content, below the run's own folder where there is one."""
        kept = self.kept(name)
        matters = {
            k: v for k, v in kept.items() if k not in ("force", "outputs", "store", "trusted")
        }
        files = fingerprint({k: v for k, v in matters.items() if k != "model"})
        content = [canonical(matters), files, self.subject.content]
        digest = hashlib.sha256(to_json(content).encode()).hexdigest()[:8]
        at, seed = self.subject, self.settings.seed
        if at.run is not None:
            return at.run / "evals" / f"{name}@{at.step:06d}-s{seed}-{digest}"
        outputs = Path(self.settings.outputs).expanduser()
        return outputs / f"{at.label}-{name}-s{seed}-{digest}"


def main(config: dict[str, Any]) -> int:
    """Measures every task, or goes on where the folder of this very config was left."""
    from bvrank.commands.verdict import show

    asked = request(config)
    policy, folders, ran = None, {}, False
    for name in asked.tasks:
        folder = asked.folder(name)
        if not _is_finished(folder, asked.parts(name)) or asked.settings.force:
            ran = True
            check_outputs(folder.parent)
            policy = policy or _policy(asked)
            _measure(asked, name, folder, policy)
        else:
            print(f"{folder}: finished before, nothing ran (force=true measures again)",
                  file=sys.stderr)  # fmt: skip
        folders[name] = folder
    results = {name: read_result(folder) for name, folder in folders.items()}
    show(results, folders)
    last = next(iter(folders.values())) if len(folders) == 1 else None
    write_outcome({"status": "done" if ran else "skipped", "headline": _headline(results),
                   "folder": str(last or asked.subject.run or asked.settings.outputs)})  # fmt: skip
    return 0


def request(config: dict[str, Any]) -> Asked:
    """Every part of the config, checked and built. ConfigError names the first misfit."""
    settings: Settings = construct(
        Settings, {k: v for k, v in config.items() if k not in GROUPS}, ""
    )
    trusted = settings.trusted
    nodes = task_nodes(config)
    at = "task" if config["suite"] is None else "tasks.{}"
    tasks = {name: build(node, at.format(name), trusted) for name, node in nodes.items()}
    for name, task in tasks.items():
        if hasattr(task, "check"):
            task.check(settings.n, at.format(name))
    if config.get("judge") and not any(hasattr(t, "judge") for t in tasks.values()):
        raise ConfigError("has no effect: nothing here is judged", where="judge")
    sampler = build(config["sampler"], "sampler", trusted)
    weights = any(_loads(task, sampler) for task in tasks.values())
    about = subject(config, weights)
    check_heeded(config, tasks.values(), weights, about.run is not None)
    drawn = weights and any(map(draws, tasks.values()))
    if drawn and about.run is not None and _is_short(config, about):
        raise ConfigError(
            f"{SHORT} is what the tiny model needs", where="sampler.max_new_tokens",
            repair="Say how long a response may be, as sampler.max_new_tokens=8192, and how it is "
            "drawn, as sampler.temperature=0.6 sampler.top_p=0.95 sampler.sequences=64.",
        )  # fmt: skip
    model = about.built(trusted)
    if hasattr(model, "vocabulary"):
        raise ConfigError("has random weights: there is nothing to measure", where="model",
                          repair="Name a run with run=..., or a model with model=hf.")  # fmt: skip
    return Asked(config, settings, about, sampler, model, tasks, nodes, store_dir(settings.store),
                 remarks=clipped(config))  # fmt: skip


def _loads(task: Any, sampler: Any) -> bool:
    drawn_here = task.needs == "responses" and sampler.needs_model
    return bool(task.needs == "policy" or drawn_here)


def _is_short(config: Mapping[str, Any], about: Subject) -> bool:
    assert about.run is not None
    from bvrank.run.record import read_config

    tiny = read_config(about.run)["model"]["_target_"] == TINY
    return not tiny and bool(config["sampler"].get("max_new_tokens") == SHORT)


def _is_finished(folder: Path, parts: Mapping[str, Any]) -> bool:
    if not is_run(folder) or not (folder / RESULT).is_file():
        return False
    manifest = read_manifest(folder)
    return manifest.get("status") == "finished" and not too_many(manifest, parts)


def _policy(asked: Asked) -> Any:
    from bvrank.commands.policies import load

    return None if asked.model is None else load(asked)


def _measure(asked: Asked, name: str, folder: Path, policy: Any) -> None:
    there = is_run(folder) and not asked.settings.force
    with told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    run = open_run(
        folder.parent, folder.name, asked.kept(name), resume=there, again=there,
        force=asked.settings.force,
    )  # fmt: skip
    run.go_on = GO_ON["evaluate"]
    for note in run.notes:
        print(note, file=sys.stderr)
    with run:
        settings, task = asked.settings, asked.tasks[name]
        n = settings.n if draws(task) else None  # in a suite it is of those that draw
        desk = Desk(run.path, tuple(settings.modes), settings.seed, asked.sampler, policy,
                    settings.limit, n, asked.store, asked.subject.label)  # fmt: skip
        with told(run.path):
            measured = task.measure(desk)
            if remark := asked.remarks.get(name):
                measured = replace(measured, notes=[*measured.notes, remark])
            result = write_result(run.path, measured, _facts(asked, name), settings.seed)
        run.update(away=noted(desk.away, asked.parts(name)))
        run.finish({"final": {k: e.value for k, e in result.figures.items()}})


def _facts(asked: Asked, name: str) -> dict[str, Any]:
    """What result.json tells beside what was measured: see run.methods of its settings."""
    kept = asked.kept(name)
    settings = {k: kept[k] for k in TOLD if k in kept}
    settings["task"] = less(kept["task"], TRANSPORT)
    settings["data"] = contents({k: v for k, v in settings.items() if isinstance(v, Mapping)})
    own = {k: v for k, v in settings["data"].items() if k.endswith(SUBJECT)}
    if (name_of := (kept["task"].get("judge") or {}).get("model")) is not None:
        own["judge.model"] = str(name_of)  # of those in a file, whose answers were judged
    return {"task": name, "version": asked.tasks[name].version, "step": asked.subject.step,
            "model": asked.subject.label, "policy": _policy_of(asked.subject, own),
            "settings": redact(canonical(settings))}  # fmt: skip


def _policy_of(about: Subject, own: Mapping[str, str]) -> str:
    """A name for the policy, by content: of its weights, or of what it answered; of one that is
    served by what its server calls it, wherever that is."""
    node = about.node or {}
    hashed = contents(node)  # of files by what they hold, wherever they lie and however they run
    named = {k: v for k, v in flatten(canonical(node)).items()
             if k not in hashed and k != "attention"}  # fmt: skip
    step = None if hashed else about.step
    content = ["" if about.node else about.label, {**named, **hashed, **own}, step]
    return hashlib.sha256(to_json(content).encode()).hexdigest()[:16]


def _headline(results: Mapping[str, Result]) -> dict[str, float]:
    """The first figure of every task and mode."""
    found: dict[str, float] = {}
    for name, result in results.items():
        for figure, e in result.figures.items():
            mode, _, metric = figure.rpartition("/")
            key = " ".join(filter(None, (name, mode)))
            if not any(k.startswith(f"{key} ") for k in found):
                found[f"{key} {metric}"] = e.value
    return found
