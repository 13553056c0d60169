"""Preference pairs from the policy's own samples: right against wrong by the final answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bvrank.answers import Response
from bvrank.data.arithmetic import Problem, correct
from bvrank.data.refusals import Unfit
from bvrank.data.templates import Template
from bvrank.records import BARE, FULL, Candidate, Message, Mode
from bvrank.sampling.transformers import Sampling, generate

VERSION = 2  # of which samples become pairs; what an older version stored is made again
MODES: tuple[tuple[Mode, str], ...] = (("thinking", FULL), ("nothinking", BARE))


@dataclass(frozen=True)
class Sampled:
    """One response of the policy to a problem; `finished`: it ended its turn by itself.

    `trace_tokens` counts the trace alone, without its tags: 0 where there is none."""

    response: Response
    trace_tokens: int
    finished: bool


def respond(model: Any, template: Template, problems: Sequence[Problem], mode: Mode,
            sampling: Sampling, seed: int, on_progress: Callable[[int, int], None] | None = None,
            ) -> list[list[Sampled]]:  # fmt: skip
    """`sampling.n` responses to each problem in one mode."""
    texts = [template.prompt_text((Message("user", p.question),), mode) for p in problems]
    groups = generate(
        model, template.ids(texts), sampling, stop_ids=(template.end_id,),
        pad_id=template.end_id, seed=seed, batch_size=512, on_progress=on_progress,
    )  # fmt: skip
    flat = [sample for group in groups for sample in group]
    bodies = [s.ids[:-1] if s.finished else s.ids for s in flat]
    responses = [template.response(text, mode) for text in template.decode(bodies)]
    traces = template.ids([r.trace or "" for r in responses])
    found = [
        Sampled(response, len(trace), s.finished)
        for response, trace, s in zip(responses, traces, flat, strict=True)
    ]
    return [found[i : i + sampling.n] for i in range(0, len(found), sampling.n)]


def is_right(sampled: Sampled, problem: Problem) -> bool:
    """Whether the response ended and its final answer is the problem's."""
    answer = sampled.response.answer
    return sampled.finished and answer is not None and correct(answer, problem)


def own_pairs(model: Any, template: Template, problems: Sequence[Problem], sampling: Sampling,
              seed: int, on_progress: Callable[[int, int], None] | None = None, *, traces: int = 1,
              ) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows `{prompt, view, chosen, rejected}`, sides as {think, answer}: D_t from thinking samples,
    D_e from separate samples without thinking. A problem gives a pair in a mode when some of its
    samples there are right and some wrong; one of each is drawn by (seed, question, view).
    Responses that did not end, hold no answer, or hold a special token are never a side.

    `traces` > 1: in D_t a side is the list of up to so many samples that reach the answer drawn.
    """
    for turn, (mode, view) in enumerate(MODES):
        groups = respond(model, template, problems, mode, sampling, 2 * seed + turn, on_progress)
        for problem, group in zip(problems, groups, strict=True):
            whole = [s for s in group if _fits(s, template, mode)]
            right = [s for s in whole if is_right(s, problem)]
            wrong = [s for s in whole if not is_right(s, problem)]
            if right and wrong:
                draw = random.Random(f"{seed}|{problem.question}|{view}")
                sides = {"chosen": draw.choice(right), "rejected": draw.choice(wrong)}
                row: dict[str, Any] = {"prompt": problem.question, "view": view}
                if traces == 1 or view == BARE:
                    yield row | {name: _side(s, view) for name, s in sides.items()}
                    continue
                alike = {name: _same_answer(s, whole, traces) for name, s in sides.items()}
                yield row | {n: [_side(s, view) for s in found] for n, found in alike.items()}


def _same_answer(drawn: Sampled, whole: Sequence[Sampled], most: int) -> list[Sampled]:
    """`drawn`, then the others with its answer in the order they were sampled; `most` in all. A
    trace that was sampled twice stands twice, as a mean over samples wants it."""
    others = [s for s in whole if s is not drawn and s.response.answer == drawn.response.answer]
    return [drawn, *others][:most]


def _fits(sampled: Sampled, template: Template, mode: Mode) -> bool:
    """Whether the response can train: text of a special token would be refused as a row."""
    answer, trace = sampled.response.answer, sampled.response.trace
    if not sampled.finished or answer is None or not answer.strip():
        return False
    try:
        template.completion_text(Candidate(answer, trace, mode=mode))
    except Unfit:
        return False
    return True


def _side(sampled: Sampled, view: str) -> dict[str, Any]:
    response = sampled.response
    return {"think": response.trace if view == FULL else None, "answer": response.answer}
