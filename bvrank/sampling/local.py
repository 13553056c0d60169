"""Responses of a policy that is in memory: the node of sampler=transformers, and what it draws."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bvrank.answers import Response
from bvrank.data.refusals import Unfit
from bvrank.data.templates import Template
from bvrank.errors import ConfigError
from bvrank.records import Candidate, Message, Mode, Refused
from bvrank.sampling.responses import MODES, Made, Prompt
from bvrank.sampling.transformers import Sample, Sampling, generate, in_batches, sampled

VERSION = 3  # of what is drawn; what an older version stored is made again


@dataclass(frozen=True)
class Transformers:
    """How the policy draws. temperature 0 is greedy. `sequences` are in flight together: they and
    the order of the prompts decide what shares a batch, which moves last bits."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 4096
    sequences: int = 64
    needs_model = True

    def __post_init__(self) -> None:
        check_drawing(self.temperature, self.top_p, self.max_new_tokens)
        if self.sequences < 1:
            raise ConfigError(f"must be at least 1, got {self.sequences}", where="sequences")

    def generator(self, policy: Any) -> Local:
        """What draws from the policy (its `model` and `template`)."""
        return Local(policy.model, policy.template, self)

    def sampling(self, n: int) -> Sampling:
        """As the generator wants it."""
        return Sampling(self.temperature, self.top_p, self.max_new_tokens, n)


@dataclass(frozen=True)
class Work:
    """What is to be made: `n` responses to every prompt in every mode. Those that are `checked`
    (row, copy) keep their ids, with `ids` every response does."""

    prompts: Sequence[Prompt]
    modes: tuple[Mode, ...]
    n: int
    seed: int
    checked: Container[tuple[int, int]] = ()
    ids: bool = False

    def stream(self, mode: Mode) -> int:
        """The seed of a mode's draws: its own, whichever modes there are."""
        return 2 * self.seed + MODES.index(mode)

    @property
    def total(self) -> int:
        """Responses in all."""
        return len(self.prompts) * len(self.modes) * self.n


@dataclass(frozen=True)
class Drawn:
    """One response of the policy; `trace_tokens` counts the trace alone, without its tags."""

    response: Response
    trace_tokens: int
    sample: Sample

    @property
    def finished(self) -> bool:
        """Whether it ended its turn by itself."""
        return self.sample.finished


class Templated:
    """What is drawn from token ids: prompts rendered by a template, of which `room` positions have
    to hold prompt and response."""

    def __init__(self, template: Template, room: int, max_new_tokens: int) -> None:
        self.template, self.room, self.most = template, room, max_new_tokens

    def fitting(self, prompts: Sequence[Prompt], modes: Sequence[Mode]
                ) -> tuple[list[Prompt], list[Refused]]:  # fmt: skip
        """The prompts that the template renders and that leave room, and the others."""
        kept: list[Prompt] = []
        refused: list[Refused] = []
        for prompt in prompts:
            try:
                texts = [self.template.prompt_text(prompt.messages, mode) for mode in modes]
                longest = max(map(len, self.template.ids(texts)))
                if longest + self.most > self.room:
                    told = f"{longest} tokens and {self.most} new ones are more "
                    raise Unfit("too_long", told + f"than the model's {self.room} positions")
                kept.append(prompt)
            except Unfit as error:
                refused.append(error.refused(prompt.where))
        return kept, refused

    def fits(self, made: Made) -> str | None:
        """Why a response cannot be a side of a row: text of a special token would be refused."""
        try:
            self.template.completion_text(Candidate(made.answer or "", made.think, mode=made.mode))
        except Unfit as error:
            return error.reason
        return None

    def ids(self, prompts: Sequence[Prompt], mode: Mode) -> list[list[int]]:
        """The prompts' token ids in a mode."""
        return self.template.ids([self.template.prompt_text(p.messages, mode) for p in prompts])


class Local(Templated):
    """Makes responses with a model and its template."""

    def __init__(self, model: Any, template: Template, how: Transformers) -> None:
        super().__init__(template, positions(model), how.max_new_tokens)
        self.model, self.how = model, how

    def responses(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        """The responses of this rank's batches, a batch at a time; batches of which all is known
        are left out. Batches do not depend on what is known, so that a run that goes on draws what
        it would have drawn."""
        ids = self.ids(work.prompts, mode)
        sampling, stop = self.how.sampling(work.n), self.template.end_id
        own = list(in_batches(ids, sampling, self.how.sequences))[rank::world]
        wanted = [
            rows for rows in own
            if any((mode, work.prompts[r].row, c) not in known for r in rows for c in range(work.n))
        ]  # fmt: skip
        for rows, groups in sampled(
            self.model, ids, wanted, sampling, stop_ids=(stop,), pad_id=stop, seed=work.stream(mode)
        ):
            flat = [sample for group in groups for sample in group]
            found = drawn(flat, self.template, mode)
            keys = [(work.prompts[r], copy) for r in rows for copy in range(work.n)]
            yield [made_of(work, mode, *key, d) for key, d in zip(keys, found, strict=True)]

    def pilot(self, work: Work, tokens: int) -> int:
        """Draws the first batch, `tokens` of each response at most; how many were drawn."""
        ids = self.ids(work.prompts, work.modes[0])
        how = replace(self.how.sampling(work.n), max_new_tokens=tokens)
        rows = next(in_batches(ids, how, self.how.sequences))
        stop = self.template.end_id
        ((_, groups),) = sampled(
            self.model, ids, [rows], how, stop_ids=(stop,), pad_id=stop, seed=work.seed
        )
        return sum(len(s.ids) for group in groups for s in group)


def respond(model: Any, template: Template, questions: Sequence[str], mode: Mode,
            sampling: Sampling, seed: int, on_progress: Callable[[int, int], None] | None = None,
            ) -> list[list[Drawn]]:  # fmt: skip
    """`sampling.n` responses to each question in one mode."""
    texts = [template.prompt_text((Message("user", q),), mode) for q in questions]
    groups = generate(
        model, template.ids(texts), sampling, stop_ids=(template.end_id,),
        pad_id=template.end_id, seed=seed, batch_size=512, on_progress=on_progress,
    )  # fmt: skip
    found = drawn([sample for group in groups for sample in group], template, mode)
    return [found[i : i + sampling.n] for i in range(0, len(found), sampling.n)]


def drawn(samples: Sequence[Sample], template: Template, mode: Mode) -> list[Drawn]:
    """Samples of one mode, taken apart."""
    bodies = [s.ids[:-1] if s.finished else s.ids for s in samples]
    responses = [template.response(text, mode) for text in template.decode(bodies)]
    traces = template.ids([r.trace or "" for r in responses])
    return [Drawn(*of) for of in zip(responses, map(len, traces), samples, strict=True)]


def positions(model: Any) -> int:
    """How many tokens the model's positions reach."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 2**31)


def check_drawing(temperature: float, top_p: float, max_new_tokens: int) -> None:
    """ConfigError for a setting of any sampler that is out of range."""
    if not 0 <= temperature < float("inf"):
        raise ConfigError(f"must be at least 0, got {temperature}", where="temperature")
    if not 0 < top_p <= 1:
        raise ConfigError(f"must lie in (0, 1], got {top_p}", where="top_p")
    if max_new_tokens < 1:
        raise ConfigError(f"must be at least 1, got {max_new_tokens}", where="max_new_tokens")


def made_of(work: Work, mode: Mode, prompt: Prompt, copy: int, drawn: Drawn) -> Made:
    """The response as it is kept; ids and likelihood only where they will be compared."""
    r, sample = drawn.response, drawn.sample
    checked = work.ids or (prompt.row, copy) in work.checked
    return Made(
        mode, prompt.row, copy, r.trace, r.answer, r.closed,
        "stop" if sample.finished else "length", len(sample.ids), drawn.trace_tokens,
        sample.logp if checked else None, sample.ids if checked else None,
    )  # fmt: skip
