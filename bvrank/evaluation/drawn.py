"""A policy's own samples on fixed prompts, and the KL divergences that they estimate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bvrank.evaluation.desk import Desk
from bvrank.evaluation.likelihood import behind, likelihoods
from bvrank.records import Example, Mode, Refused
from bvrank.sampling.responses import Made, Prompt

Cells = dict[str, dict[str, float]]


@dataclass
class Drawn:
    """`n` samples with their ids to each prompt in each mode of the desk."""

    desk: Desk
    prompts: dict[int, Prompt]
    made: dict[tuple[str, int], list[Made]]
    unfit: list[Refused]
    n: int
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, desk: Desk, examples: Sequence[Example], limit: int | None, n: int) -> Drawn:
        """On the first `limit` prompts of the examples, each once; what the folder holds is not
        drawn again."""
        first = {e.prompt: e.where for e in reversed(examples)}
        turns = list(dict.fromkeys(e.prompt for e in examples))[:limit]
        prompts = [Prompt(row, first[t], t) for row, t in enumerate(turns)]
        shelf, unfit = desk.respond(prompts, n, ids=True)
        made: dict[tuple[str, int], list[Made]] = {}
        for one in shelf.get(shelf.ordered()):
            made.setdefault((one.mode, one.row), []).append(one)
        counts = Counter(r.reason for r in unfit)
        counts["cut_off"] = sum(m.end == "length" for group in made.values() for m in group)
        return cls(desk, {p.row: p for p in prompts}, made, unfit, desk.n or n, counts)

    def kl(self, reference: Any) -> Cells:
        """Of the policy to the reference, by mode."""
        cells: Cells = {}
        for mode in self.desk.modes:
            trees = {}
            for row, made in self._rows(mode):
                front = self._front(row, mode)
                trees[row] = behind(self.prompts[row].where, [(front, m.ids or ()) for m in made])
            near = self._scored(f"drawn-{mode}-policy", trees, self.desk.policy)
            far = self._scored(f"drawn-{mode}-reference", trees, reference)
            cells[f"{mode}/kl"] = self._gaps(near, far)
        return cells

    def between_modes(self) -> Cells:
        """Of the answers behind a trace to those of mode nothinking."""
        traced, untraced = {}, {}
        for row, made in self._rows("thinking"):
            where, before = self.prompts[row].where, self._front(row, "thinking")
            parts = [part for m in made if (part := self._parts(m)) is not None]
            self.counts["without_answer"] += len(made) - len(parts)
            if parts:
                traced[row] = behind(where, [([*before, *trace], a) for trace, a in parts])
                front = self._front(row, "nothinking")
                untraced[row] = behind(where, [(front, a) for _, a in parts])
        if not traced:
            return {}
        near = self._scored("answers-thinking", traced, self.desk.policy)
        far = self._scored("answers-nothinking", untraced, self.desk.policy)
        return {"kl_modes": self._gaps(near, far)}

    def notes(self) -> list[str]:
        """What the figures of samples rest on."""
        found = [f"every KL: estimator k1 over n={self.n} samples of the policy to each of "
                 f"{len(self.prompts):,} prompts and mode, of at most "
                 f"{self.desk.sampler.max_new_tokens} tokens"]  # fmt: skip
        if lost := self.counts["without_answer"]:
            found.append(f"kl_modes leaves {lost:,} samples out, which have no finished answer")
        if self.unfit:
            found.append(f"{len(self.unfit)} prompts leave no room for samples; first "
                         f"{self.unfit[0].where}: {self.unfit[0].detail}")  # fmt: skip
        return found

    def _rows(self, mode: Mode) -> list[tuple[int, list[Made]]]:
        return [(row, made) for (m, row), made in self.made.items() if m == mode]

    def _front(self, row: int, mode: Mode) -> list[int]:
        template = self.desk.policy.template
        ids: list[int] = template.ids([template.prompt_text(self.prompts[row].messages, mode)])[0]
        return ids

    def _parts(self, made: Made) -> tuple[list[int], list[int]] | None:
        """The ids of a trace and of the answer with its end; None where there is no answer, or it
        is other tokens than its text alone is."""
        if not (made.whole and made.closed and made.ids):
            return None
        template = self.desk.policy.template
        answer = [*template.ids([made.answer])[0], template.end_id]
        at = len(made.ids) - len(answer)
        return (list(made.ids[:at]), answer) if [*made.ids[max(at, 0) :]] == answer else None

    def _scored(self, name: str, trees: Any, policy: Any) -> dict[int, tuple[float, ...]]:
        return likelihoods(self.desk.folder, name, trees, policy)

    def _gaps(self, near: Any, far: Any) -> dict[str, float]:
        """The mean of near - far of each prompt."""
        return {self.prompts[row].where: (sum(near[row]) - sum(far[row])) / len(near[row])
                for row in near}  # fmt: skip
