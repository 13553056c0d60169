"""Greedy completions of a few prompts, before training and after it: what changed, in words.

examples.jsonl in the run folder, one object a line:

    {"prompt": "<|im_start|>user...", "view": "full", "chosen": "...", "rejected": "...",
     "gold": null, "max_new_tokens": 64, "before": COMPLETION, "after": COMPLETION}

    COMPLETION  {"text": "...", "ended": true}, or null: not there yet, or no numbers to decode

Every text is decoded from the ids that the model saw or wrote, special tokens included. Greedy
decoding draws nothing, so that a run is the same with and without examples.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from bvrank.data.arithmetic import Arithmetic, problems
from bvrank.data.mix import worlds
from bvrank.data.shelf import has_view
from bvrank.data.templates import Template
from bvrank.records import Encoded, Message
from bvrank.run import read_jsonl, to_json, write_atomic
from bvrank.run.folder import told
from bvrank.run.record import EXAMPLES
from bvrank.sampling.local import positions
from bvrank.sampling.responses import VIEW
from bvrank.sampling.transformers import Sample, Sampling, generate
from bvrank.tracking.progress import phase

Completion = dict[str, Any] | None


@dataclass(frozen=True)
class Prompt:
    """A prompt to complete, and what its row says of a good completion; None where it does not."""

    ids: tuple[int, ...]
    prompt: str
    view: str
    chosen: str | None = None
    rejected: str | None = None
    gold: str | None = None


def prompts_of(source: Any, rows: Sequence[Encoded], views: Sequence[str], template: Template,
               count: int) -> list[Prompt]:  # fmt: skip
    """`count` prompts of each view: test problems of the arithmetic world, else the first rows."""
    if found := worlds(source):
        return _of_problems(found[0], template, count)
    having = {view: np.flatnonzero(has_view(rows, view))[:count].tolist() for view in views}
    return [_of_row(rows[i], view, template) for view in views for i in having[view]]


def before(folder: Path, model: Any, template: Template, prompts: Sequence[Prompt],
           max_new_tokens: int) -> None:  # fmt: skip
    """Writes what `model` answers before step 1; completions that stand there already are kept.

    RunError when the file cannot be written.
    """
    known = {_key(line): line.get("before") for line in _read(folder)}
    lines = [_line(p, max_new_tokens) for p in prompts]
    missing = [p for p, line in zip(prompts, lines, strict=True) if not known.get(_key(line))]
    fresh = _completions(model, template, missing, max_new_tokens, "examples before")
    made = {_key(_line(p, max_new_tokens)): c for p, c in zip(missing, fresh, strict=True)}
    _write(folder, [line | {"before": (known | made)[_key(line)]} for line in lines])


def after(folder: Path, model: Any, template: Template, prompts: Sequence[Prompt],
          max_new_tokens: int) -> None:  # fmt: skip
    """Adds what `model` answers behind the last step. RunError when it cannot be written."""
    known = {_key(line): line.get("before") for line in _read(folder)}
    found = _completions(model, template, prompts, max_new_tokens, "examples after")
    lines = [_line(p, max_new_tokens) for p in prompts]
    _write(
        folder,
        [
            line | {"before": known.get(_key(line)), "after": completion}
            for line, completion in zip(lines, found, strict=True)
        ],
    )


def _of_problems(source: Arithmetic, template: Template, count: int) -> list[Prompt]:
    asked = problems(min(count, source.test_problems), source.seed, "test")
    texts = [
        (template.prompt_text((Message("user", p.question),), mode), view, p.answer)
        for mode, view in VIEW.items()
        for p in asked
    ]
    ids = template.ids([text for text, _, _ in texts])
    return [
        Prompt(tuple(i), text, view, gold=gold)
        for i, (text, view, gold) in zip(ids, texts, strict=True)
    ]


def _of_row(row: Encoded, view: str, template: Template) -> Prompt:
    """The prompt in front of the row's candidates (of a list: of its first one), and the best and
    the worst of them."""
    branches = [b for b in row.branches if b.view == view]
    ids, paths = [s.ids.tolist() for s in row.segments], row.paths()
    stem = min((paths[b.segments[0]][:-1] for b in branches), key=len)
    best, worst = (pick(branches, key=lambda b: b.relevance) for pick in (max, min))
    sides = [[i for s in b.segments for i in ids[s]] for b in (best, worst)]
    prompt = tuple(i for segment in stem for i in ids[segment])
    text, *said = template.decode([prompt, *(_unended(side, template) for side in sides)])
    rejected = said[1] if worst.relevance < best.relevance else None
    return Prompt(prompt, text, view, said[0], rejected)


def _completions(model: Any, template: Template, prompts: Sequence[Prompt], limit: int,
                 title: str) -> list[Completion]:  # fmt: skip
    """A greedy completion of each prompt; None for one that leaves no room, or a broken model."""
    found: dict[int, Completion] = dict.fromkeys(range(len(prompts)))
    rooms = {n: min(limit, positions(model) - len(p.ids)) for n, p in enumerate(prompts)}
    fitting = sorted((n for n in rooms if rooms[n] > 0 and prompts[n].ids), key=rooms.__getitem__)
    if not fitting:
        return list(found.values())
    with phase(title, len(fitting)) as shown:
        for room, numbers in groupby(fitting, key=rooms.__getitem__):
            part = list(numbers)
            try:
                samples = _greedy(model, template, [prompts[n].ids for n in part], room)
            except FloatingPointError as error:  # an example is worth no run
                print(f"{title}: {error}", file=sys.stderr)
                break
            found |= {n: _told(s, template) for n, s in zip(part, samples, strict=True)}
            shown.advance(len(part))
    return [found[n] for n in range(len(prompts))]


def _greedy(model: Any, template: Template, prompts: Sequence[Sequence[int]], room: int
            ) -> list[Sample]:  # fmt: skip
    sampling = Sampling(temperature=0.0, max_new_tokens=room, n=1)
    stop = template.end_id
    groups = generate(model, prompts, sampling, stop_ids=(stop,), pad_id=stop, seed=0)
    return [group[0] for group in groups]


def _told(sample: Sample, template: Template) -> Completion:
    ids = sample.ids[:-1] if sample.finished else sample.ids
    return {"text": template.decode([ids])[0], "ended": sample.finished}


def _unended(ids: Sequence[int], template: Template) -> Sequence[int]:
    return ids[:-1] if ids and ids[-1] == template.end_id else ids


def _line(prompt: Prompt, limit: int) -> dict[str, Any]:
    told = {k: v for k, v in asdict(prompt).items() if k != "ids"}
    return {**told, "max_new_tokens": limit, "before": None, "after": None}


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(str(line.get(name)) for name in ("prompt", "view", "max_new_tokens"))


def _read(folder: Path) -> list[dict[str, Any]]:
    with told(folder):
        return read_jsonl(folder / EXAMPLES)[0]


def _write(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    if lines:
        with told(folder):
            write_atomic(folder / EXAMPLES, "".join(to_json(line) + "\n" for line in lines))
