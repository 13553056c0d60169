"""KL divergences from a policy's own samples, against sums over all that can be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from bvrank.evaluation.desk import Desk
from bvrank.evaluation.drawn import Drawn
from bvrank.sampling.local import Transformers
from bvrank.sampling.responses import Made
from tests.evaluation.test_likelihood import TEMPLATE, Weights, examples

ASKED = examples(2)


def drawn(folder: Path, policy: Any, sampler: Any, n: int, modes: Any = ("thinking", "nothinking"),
          limit: int | None = None) -> Drawn:  # fmt: skip
    return Drawn.of(Desk(folder, modes, 0, sampler, policy), ASKED, limit, n)


def front(example: Any, mode: Any) -> list[int]:
    found: list[int] = TEMPLATE.ids([TEMPLATE.prompt_text(example.prompt, mode)])[0]
    return found


def test_kl_of_one_token_is_the_sum_over_the_vocabulary(tmp_path: Path) -> None:
    policy, other = Weights(0), Weights(1)
    found = drawn(tmp_path, policy, Transformers(1.0, 1.0, 1, 4000), 4000, ("nothinking",))
    cells = found.kl(other)["nothinking/kl"]
    for example in ASKED:
        with torch.no_grad():
            ids = torch.tensor([front(example, "nothinking")])
            p, q = (w.model(ids).logits[0, -1].double().log_softmax(-1) for w in (policy, other))
        exact = float((p.exp() * (p - q)).sum())
        spread = float((p.exp() * (p - q - exact) ** 2).sum()) ** 0.5
        assert abs(cells[example.where] - exact) < 4 * spread / 4000**0.5 < 0.2 * exact


def test_kl_is_the_mean_over_the_ids_that_were_drawn(tmp_path: Path) -> None:
    """Of samples that are cut off, too."""
    policy, other = Weights(0), Weights(1)
    found = drawn(tmp_path, policy, Transformers(1.0, 1.0, 5, 8), 3)
    cells = found.kl(other)
    for (mode, row), made in found.made.items():
        before = front(ASKED[row], mode)
        gaps = [policy.plain(before, m.ids) - other.plain(before, m.ids) for m in made]
        assert len(made) == 3
        assert cells[f"{mode}/kl"][ASKED[row].where] == pytest.approx(np.mean(gaps), abs=1e-4)
    assert found.counts["cut_off"] == sum(m.end == "length" for g in found.made.values() for m in g)
    assert "n=3" in found.notes()[0] and "k1" in found.notes()[0] and "5 tokens" in found.notes()[0]


def test_kl_to_itself_is_nothing(tmp_path: Path) -> None:
    policy = Weights()
    cells = drawn(tmp_path, policy, Transformers(1.0, 1.0, 5, 8), 3).kl(Weights())
    assert {v for c in cells.values() for v in c.values()} == {0.0}


@dataclass(frozen=True)
class Says:
    """Draws these (think, answer, end) in thinking mode, with their ids."""

    said: Any
    max_new_tokens: ClassVar[int] = 99

    def generator(self, policy: Any) -> Says:
        return self

    def responses(self, work: Any, mode: Any, known: Any, rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        assert work.ids
        for prompt in work.prompts if mode == "thinking" else ():
            for copy in range(work.n):
                text, end = self.said[copy]
                ids = [*TEMPLATE.ids([text])[0], *([TEMPLATE.end_id] if end == "stop" else [])]
                r = TEMPLATE.response(text, mode)
                yield [Made(mode, prompt.row, copy, r.trace, r.answer, r.closed, end,
                            ids=tuple(ids))]  # fmt: skip


def test_kl_between_modes_is_of_the_answer_alone(tmp_path: Path) -> None:
    said = [("<think>\nso\n</think>\n\n7", "stop"), ("42", "stop"),
            ("<think>\nso\n</think>\n\n7", "length"), ("<think>\nso", "stop"),
            ("<think>\nso\n</think>\n\n", "stop")]  # fmt: skip
    policy = Weights()
    found = drawn(tmp_path, policy, Says(said), 5)
    cells = found.between_modes()["kl_modes"]
    for example in ASKED:
        on, off = front(example, "thinking"), front(example, "nothinking")
        gaps = []
        for trace, answer in (("<think>\nso\n</think>\n\n", "7"), ("", "42")):
            z, a = TEMPLATE.ids([trace])[0], [*TEMPLATE.ids([answer])[0], TEMPLATE.end_id]
            gaps.append(policy.plain([*on, *z], a) - policy.plain(off, a))
        assert cells[example.where] == pytest.approx(np.mean(gaps), abs=1e-4)
    assert found.counts["without_answer"] == 6 and "leaves 6 samples out" in found.notes()[1]


def test_where_nothing_was_finished_there_is_no_figure(tmp_path: Path) -> None:
    found = drawn(tmp_path, Weights(), Says([("<think>\nso", "length")]), 1)
    assert found.between_modes() == {} and found.counts["without_answer"] == 2


def test_a_prompt_is_asked_once_under_its_first_address(tmp_path: Path) -> None:
    twice = [*ASKED, ASKED[0].__class__("p:9", ASKED[0].prompt, ASKED[0].candidates)]
    desk = Desk(tmp_path, ("thinking",), 0, Transformers(1.0, 1.0, 1, 8), Weights())
    assert [p.where for p in Drawn.of(desk, twice, None, 1).prompts.values()] == ["p:0", "p:1"]


def test_the_limit_and_prompts_without_room(tmp_path: Path) -> None:
    found = drawn(tmp_path, Weights(), Transformers(1.0, 1.0, 1, 8), 1, limit=1)
    assert [p.where for p in found.prompts.values()] == ["p:0"]
    other = tmp_path / "other"
    other.mkdir()
    none = drawn(other, Weights(), Transformers(1.0, 1.0, 40_000, 8), 1)
    assert none.counts["too_long"] == 2 and "2 prompts leave no room" in none.notes()[-1]
    assert none.kl(Weights())["thinking/kl"] == {}
