"""From a checked request to data and model in memory; no file of the run exists yet."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers.utils.logging import disable_progress_bar

from bvrank.commands import assemble, policy, prepare
from bvrank.commands.intake import Material
from bvrank.data.mix import worlds
from bvrank.data.templates import Template
from bvrank.errors import ConfigError, did_you_mean
from bvrank.models.corpus import Corpus
from bvrank.models.tiny import Tiny

if TYPE_CHECKING:
    from bvrank.commands.train import Request


@dataclass(frozen=True)
class Loaded:
    """Rows, and the model as training begins; `fresh` makes another one like it."""

    template: Template
    model: Any
    fresh: Callable[[], Any]
    source: Any
    rows: assemble.Rows


def load(asked: Request) -> Loaded:
    """Tokenizer, rows, weights, in this order: what is cheap to refuse comes first."""
    template, fresh = _parts(asked)
    own = samples_itself(asked)
    rows = None if own else _rows(asked, asked.source, template)
    model = fresh()
    if asked.model.lora.path is not None:
        print("LoRA: the reference is the adapter as loaded.", file=sys.stderr)
    source = prepare.own(asked.source, model, template, asked.store) if own else asked.source
    rows = rows or _rows(asked, source, template)
    assemble.check_positions(rows, model)
    _check_best(asked, rows)
    return Loaded(template, model, fresh, source, rows)


def prepared(asked: Request) -> None:
    """Makes what several processes would otherwise make at once, and keeps it in the store: the
    tokenizer, the encoded rows, the tiny model's teaching, its own pairs, and how accurate it is
    before. DataError as of `load`."""
    template, fresh = _parts(asked)
    source = asked.source
    if isinstance(asked.model, Tiny) or samples_itself(asked):
        model = fresh()
    if samples_itself(asked):
        source = prepare.own(source, model, template, asked.store)
        prepare.measured(worlds(source)[0], model, template, asked.store, "accuracy before")
    if material_of(asked, source, template).content() is not None:
        _rows(asked, source, template)


def samples_itself(asked: Request) -> bool:
    """Whether the pairs are the policy's own samples."""
    return any(world.path is None for world in worlds(asked.source))


def _parts(asked: Request) -> tuple[Template, Callable[[], Any]]:
    """The template, and what makes the model."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    corpus = Corpus(lambda: assemble.texts_of(asked.source), asked.store)
    tokenizer = asked.model.tokenizer(corpus)
    settings = asked.settings

    def fresh() -> Any:
        model = asked.model.model(tokenizer, settings.seed)
        if isinstance(asked.model, Tiny):
            prepare.teach(asked.model, model, tokenizer, asked.store)
        return policy.ready_model(model, settings, settings.seed, asked.model.lora, tokenizer)

    return settings.template.template(tokenizer), fresh


def _rows(asked: Request, source: Any, template: Template) -> assemble.Rows:
    material = material_of(asked, source, template)
    return assemble.encoded_rows(material, asked.schedule, asked.where, asked.store)


def material_of(asked: Request, source: Any, template: Template) -> Material:
    """What the run's rows are made of."""
    views, seed = asked.schedule.views(), asked.settings.seed
    return Material(source, asked.held_source, asked.intake, template, views, seed)


def _check_best(asked: Request, rows: assemble.Rows) -> None:
    """ConfigError when checkpoint.best names no figure of this run."""
    best = asked.settings.checkpoint.best
    names = assemble.metric_names(asked.schedule, rows)
    if best is not None and best not in names:
        raise ConfigError(
            f"'{best}' is not a metric of this run", where="checkpoint.best",
            repair=did_you_mean(best, names),
        )  # fmt: skip
