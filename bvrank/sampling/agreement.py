"""Whether the scorer finds what the sampler drew as likely as the sampler did.

A response goes the way a row of training goes: rendered by the template, tokenised, laid out and
scored. Where the tokens are those that were drawn, the log-probabilities must agree; if they do
not, template, masks or weights are not what was sampled from. Text need not come back as the tokens
that were drawn (a model may spell a word in other pieces): such responses are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bvrank.data.encoding import encode
from bvrank.data.templates import Template
from bvrank.errors import ModelError
from bvrank.records import Candidate, Encoded, Example, Mode, TokenBatch
from bvrank.sampling.responses import VIEW, Made, Prompt
from bvrank.scoring.collate import Collator, Row


@dataclass(frozen=True)
class Agreement:
    """Of each mode: responses that were compared, those that come back as other tokens, and those
    that were left out for want of an end or an answer. `gap`: the largest difference in nats per
    token; `tolerance`: how large it may be."""

    modes: Mapping[Mode, tuple[int, int, int]]
    gap: float
    tolerance: float

    @property
    def compared(self) -> int:
        return sum(found[0] for found in self.modes.values())

    @property
    def respelled(self) -> int:
        return sum(found[1] for found in self.modes.values())

    @property
    def unfinished(self) -> int:
        return sum(found[2] for found in self.modes.values())

    def told(self) -> str:
        """As a sentence."""
        parts = [
            f"{self.compared} response{' is' if self.compared == 1 else 's are'} as likely in "
            f"training as in sampling, to {self.gap:.1e} nats per token (allowed: "
            f"{self.tolerance:.1g})"
            if self.compared else "no response could be compared",
        ]  # fmt: skip
        if self.respelled:
            parts.append(f"{self.respelled} come back as other tokens than were drawn, and train "
                         "as those")  # fmt: skip
        if self.unfinished:
            parts.append(f"{self.unfinished} are unfinished or have no answer, and are left out")
        return "; ".join(parts)


def agreement(pairs: Sequence[tuple[Prompt, Made]], collate: Collator, template: Template,
              score: Callable[[TokenBatch], Tensor], tolerance: float) -> Agreement:  # fmt: skip
    """Compares finished responses that carry ids. ModelError above `tolerance` (nats per token)."""
    found: dict[Mode, list[int]] = {}
    worst = 0.0
    for prompt, made in pairs:
        if made.ids is None or made.logp is None:
            continue
        counts = found.setdefault(made.mode, [0, 0, 0])
        if not made.whole:
            counts[2] += 1
            continue
        row = _encoded(prompt, made, template)
        if row is None or _answer(row) != list(made.ids):
            counts[1] += 1
            continue
        with torch.no_grad():
            scored = float(score(collate([[Row(row)]], (VIEW[made.mode],)))[0, 0, 0])
        gap = abs(scored - made.logp) / len(made.ids)
        if not gap <= tolerance:
            raise ModelError(
                f"{prompt.where}, {made.mode}: the sampler gave its response {made.logp:.4f} nats, "
                f"the scorer {scored:.4f}: {gap:.2g} a token, more than {tolerance:.1g}",
                where="check",
                repair="Template, masks or weights are not what was sampled from. In bf16 a larger "
                "check.tolerance may be right; check.rows=0 leaves the comparison out.",
            )  # fmt: skip
        counts[0], worst = counts[0] + 1, max(worst, gap)
    return Agreement({m: (c[0], c[1], c[2]) for m, c in found.items()}, worst, tolerance)


def _encoded(prompt: Prompt, made: Made, template: Template) -> Encoded | None:
    view = VIEW[made.mode]
    blockless = made.mode == "thinking" and made.think is None
    mode: Mode = "plain" if blockless else made.mode  # as the file of pairs has it
    one = Candidate(made.answer or "", made.think, view, mode, 1.0)
    rows, _ = encode(
        [Example(prompt.where, prompt.messages, (one,))], template, views=(view,), max_length=2**31
    )
    return rows[0] if rows else None


def _answer(row: Encoded) -> list[int]:
    """The scored ids."""
    return [i for s in row.branches[0].segments for i in row.segments[s].ids.tolist()]
