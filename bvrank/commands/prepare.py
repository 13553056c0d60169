"""What a run needs first, made once in the parent and kept by content: the tiny model's teaching,
its own pairs, and how accurate it is before training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bvrank.data.arithmetic as world
from bvrank.checkpoint import TrainState
from bvrank.commands import assemble, policy
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
from bvrank.commands.settings import TrainSettings
from bvrank.data.encoding import encode
from bvrank.data.mix import with_worlds
from bvrank.data.templates import Template
from bvrank.engines.local import Local
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation import arithmetic as evaluation
from bvrank.models.saving import load_weights, save_policy
from bvrank.models.tiny import Tiny
from bvrank.objectives.schedule import Schedule
from bvrank.objectives.sft import SFT
from bvrank.ranks import ALONE
from bvrank.records import Message, Mode
from bvrank.rewards.arithmetic import Arithmetic as Sums
from bvrank.run import kept
from bvrank.sampling import pipeline
from bvrank.sampling.local import VERSION as DRAWS
from bvrank.sampling.local import Local as Sampler
from bvrank.sampling.local import Transformers, Work
from bvrank.sampling.prompts import Arithmetic as Problems
from bvrank.sampling.responses import MODES, Prompt
from bvrank.sampling.selection import Selection
from bvrank.sampling.writing import write_pairs
from bvrank.scoring.reference import model_identity
from bvrank.tracking.progress import phase
from bvrank.trainer import train

TOGETHER = 512  # sequences in flight
VERSION = 3  # of teaching, sampling and measuring: what older versions stored is made again


def teach(node: Tiny, model: Any, tokenizer: Any, store: Path) -> None:
    """Gives `model` the taught weights: from the store, else by SFT with the product's trainer."""
    if node.teach.steps == 0:
        return
    folder = _taught(node, store)

    def taught() -> Callable[[Path], Any]:
        _teach(node, model, tokenizer)
        return lambda part: save_policy(model, part)

    load_weights(model, kept(folder, taught))


def is_taught(node: Tiny, store: Path) -> bool:
    """Whether `teach` finds the weights in the store, or needs none."""
    return node.teach.steps == 0 or _taught(node, store).is_dir()


def _taught(node: Tiny, store: Path) -> Path:
    shape = {k: v for k, v in asdict(node).items() if k != "lora"}
    return store / "models" / _key("taught", shape)


def own(source: Any, model: Any, template: Template, store: Path) -> Any:
    """The source with the pairs of its worlds sampled from `model` (or found in the store)."""
    return with_worlds(source, lambda found: _own(found, model, template, store))


def _own(source: world.Arithmetic, model: Any, template: Template, store: Path
         ) -> world.Arithmetic:  # fmt: skip
    if source.path is not None:
        return source
    asked = {k: v for k, v in asdict(source).items() if not k.startswith("test_")}
    key = _key("pairs", DRAWS, asked, model_identity(model), _rendered(template))
    folder = kept(
        store / "pairs" / key, lambda: lambda part: _sample(source, model, template, part)
    )
    return replace(source, path=str(folder / "pairs.jsonl"))


def _sample(source: world.Arithmetic, model: Any, template: Template, folder: Path) -> None:
    """What `bvrank sample` does on the problems of `source`."""
    found = Problems(source.problems, source.seed).prompts()
    prompts = [p for p in found if isinstance(p, Prompt)]
    how = Transformers(source.temperature, 1.0, source.max_new_tokens, TOGETHER)
    drawn, reward = Sampler(model, template, how), Sums()
    work = Work(prompts, MODES, source.samples, source.seed)
    pipeline.generate(folder, work, drawn)
    made = pipeline.responses_of(folder)
    pipeline.score(folder, prompts, made, reward)
    scores, selection = pipeline.scores_of(folder, reward), Selection(traces=source.traces)
    rows = pipeline.select(prompts, made, scores, selection, drawn.fits, source.seed, {})
    write_pairs(folder, rows, ["jsonl"], lists=source.traces > 1, messages=False)
    if not (folder / "pairs.jsonl").stat().st_size:
        raise DataError(
            "no problem has both a right and a wrong sample: nothing to prefer", where="data",
            repair="Raise data.problems or data.samples, or teach more (model.teach.steps).",
        )  # fmt: skip


def measured(source: world.Arithmetic, model: Any, template: Template, store: Path, title: str
             ) -> dict[str, evaluation.Accuracy]:  # fmt: skip
    """Accuracy of `model` on the source's test problems, kept by content."""
    asked = (source.test_problems, source.test_samples, source.max_new_tokens, source.seed)
    key = _key("accuracy", evaluation.VERSION, asked, model_identity(model), _rendered(template))

    def figures() -> Callable[[Path], Any]:
        problems = world.problems(source.test_problems, source.seed, "test")
        with phase(title, 4) as shown:
            result = evaluation.accuracy(
                model, template, problems, samples=source.test_samples, temperature=1.0,
                max_new_tokens=source.max_new_tokens, seed=source.seed, on_progress=shown.advance,
            )  # fmt: skip
        text = json.dumps({mode: asdict(values) for mode, values in result.items()})
        return lambda part: (part / "accuracy.json").write_text(text)

    folder = kept(store / "accuracy" / key, figures)
    found = json.loads((folder / "accuracy.json").read_text())
    return {mode: evaluation.Accuracy.of(values) for mode, values in found.items()}


def _teach(node: Tiny, model: Any, tokenizer: Any) -> None:
    settings, objective = _teaching(node), SFT()
    template = Template(tokenizer)
    teach = node.teach
    try:
        taught = list(world.Demonstrations(teach.problems, teach.seed, teach.nothinking).rows())
    except ValueError as error:
        raise ConfigError(str(error), where="model.teach.problems") from error
    rows, _ = encode(taught, template, views=objective.views, max_length=4096)
    here = Local()
    scorer = policy.scorer_of(model, settings, here.place(ALONE))
    optimizer = policy.optimizer_of(model, settings, here.place(ALONE))
    engine = here.start(scorer, optimizer, precision="fp32", max_grad_norm=1.0)
    batches = assemble.stream(
        rows,
        None,
        assemble.collator(model, settings, engine.device),
        objective.views,
        settings,
    )
    plan = assemble.plan_of(Schedule(objective, {}), settings)
    with phase("teaching", settings.steps) as shown:
        hook = lambda state, report: shown.advance(1, loss=report.values["loss"])  # noqa: E731
        train(plan, batches, engine, TrainState(), [hook])


def _teaching(node: Tiny) -> TrainSettings:
    return TrainSettings(
        seed=node.teach.seed, steps=node.teach.steps, batch=node.teach.batch,
        micro=None, micro_tokens=None,
        optimizer=Optimizer("AdamW", node.teach.lr, {"betas": (0.9, 0.95)}),
        scheduler=Scheduler("cosine", 0.067),
        schedule={}, max_grad_norm=1.0, precision="fp32", activation_checkpointing=False,
        compile=False,
        template=Rendering(), scoring=Scoring("forest", 16_384), trainer=Trainer(),
        probe=Probe(), auto=Auto(),
        eval=Eval(0, None),
        checkpoint=Checkpoint(0, 1, None),
        log=Log(1), examples=Examples(0, 1), resume=False, force=False, name=None,
        outputs="outputs", store=None, trusted=[],
    )  # fmt: skip


def _rendered(template: Template) -> list[Any]:
    """What a template makes of a question: part of the key of all that was sampled through it."""
    question = (Message("user", "1+1=?"),)
    modes: tuple[Mode, ...] = ("thinking", "nothinking")
    return [template.end_id, *(template.prompt_text(question, mode) for mode in modes)]


def _key(*parts: Any) -> str:
    text = json.dumps([VERSION, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
