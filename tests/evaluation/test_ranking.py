"""Rankings by three decoders, against plain forwards, definitions and invariances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from bvrank.answers import split
from bvrank.data.lists import Lists as Source
from bvrank.errors import ConfigError, DataError
from bvrank.evaluation import likelihood
from bvrank.evaluation.desk import Desk
from bvrank.evaluation.ranking import OWN, Ranking
from bvrank.records import Message
from bvrank.sampling.local import Transformers, Work
from bvrank.sampling.responses import Made
from bvrank.scoring.collate import Collator
from bvrank.scoring.scorer import cost_of, packing
from tests.commands.fast import write
from tests.evaluation.test_likelihood import TEMPLATE, Weights

pytest.importorskip("ir_measures")
ROWS = [
    {"prompt": "q", "candidates": ["a", "bb", "c"], "relevance": [0, 2, 1]},
    {"prompt": "r", "candidates": ["d", "e", "fg", "h"], "relevance": [1, 0, 0, 0]},
    {"prompt": "s", "candidates": ["i", "j"], "relevance": [0, 0]},
    {"prompt": "t", "candidates": ["i", "j"], "relevance": [0, 0.5]},
    {"prompt": 1},
]
MEASURES = ["ndcg_exp@1", "ndcg_exp@3", "ndcg@3", "recall@2", "mrr", "map", "p@1"]


def source(folder: Path, rows: Sequence[Any] = ROWS) -> Source:
    return Source(str(write(folder / "lists.jsonl", list(rows))))


def task(folder: Path, rows: Sequence[Any] = ROWS, **settings: Any) -> Ranking:
    return Ranking("t", source(folder, rows), settings.pop("measures", MEASURES), **settings)


def desk(folder: Path, policy: Any = None, **settings: Any) -> Desk:
    place = folder / f"desk{len(list(folder.glob('desk*')))}"
    place.mkdir()
    how = settings.pop("sampler", Transformers())
    return replace(Desk(place, ("thinking",), 0, how, policy or Weights()), **settings)


def front(text: str) -> list[int]:
    return TEMPLATE.ids([TEMPLATE.prompt_text((Message("user", text),), "plain")])[0]


def exponential(relevance: Sequence[float], scores: Sequence[float], k: int) -> float:
    order = sorted(range(len(scores)), key=lambda c: -scores[c])
    gain = lambda y, i: (2**y - 1) / math.log2(i + 2)  # noqa: E731
    best = sorted(relevance, reverse=True)
    return sum(gain(relevance[c], i) for i, c in enumerate(order[:k])) / sum(
        gain(y, i) for i, y in enumerate(best[:k])
    )


@pytest.mark.parametrize("reduce", [None, "mean"])
def test_items_alone_are_ranked_by_plain_log_probs(tmp_path: Path, reduce: Any) -> None:
    policy = Weights()
    found = task(tmp_path, reduce=reduce).measure(desk(tmp_path, policy))
    for row, where in zip(ROWS[:2], found.cells["ndcg_exp@3"], strict=True):
        ended = [[*TEMPLATE.ids([text])[0], TEMPLATE.end_id] for text in row["candidates"]]
        plain = [policy.plain(front(row["prompt"]), ids) for ids in ended]
        if reduce == "mean":
            plain = [p / len(ids) for p, ids in zip(plain, ended, strict=True)]
        for k in (1, 3):
            wanted = exponential(row["relevance"], plain, k)
            assert found.cells[f"ndcg_exp@{k}"][where] == pytest.approx(wanted, abs=1e-6)
        place = 1 + sorted(plain, reverse=True).index(plain[row["relevance"].index(1)])
        if row["prompt"] == "r":
            assert found.cells["mrr"][where] == pytest.approx(1 / place)
            assert found.cells["p@1"][where] == float(place == 1)
    assert found.counts == {"nothing_relevant": 1, "relevance_fraction": 1, "missing": 1}


def test_inside_a_list_it_is_the_mean_over_its_orders(tmp_path: Path) -> None:
    """Over all n! of them, whatever order was shown first."""
    policy, row = Weights(), ROWS[0]
    wanted = {c: [] for c in range(3)}
    between = TEMPLATE.ids([", "])[0]
    for order in permutations(range(3)):
        context = front("q")
        for place, c in enumerate(order):
            ids = TEMPLATE.ids([row["candidates"][c]])[0]
            context = context + (between if place else [])
            wanted[c].append(policy.plain(context, ids))
            context = context + ids
    for shown in ([1, 2, 3], [3, 1, 2]):
        rows = [{**row, "rank": shown}]
        asked = task(tmp_path, rows, decoder="likelihood.inlist", permutations=6)
        (sample,) = (
            s for s in asked.measure(desk(tmp_path, policy)).samples if s["key"].endswith(":1")
        )
        means = [fmean(wanted[c]) for c in range(3)]
        assert sample["scores"] == pytest.approx(means, abs=1e-4)


def test_items_alone_do_not_care_for_the_order(tmp_path: Path) -> None:
    """Their scores move with them, and the audit is exactly still."""
    policy = Weights()
    cells = []
    for order in permutations(range(3)):
        row = {"prompt": "q", **{k: [ROWS[0][k][c] for c in order] for k in ("candidates",
               "relevance")}}  # fmt: skip
        found = task(tmp_path, [row], audit=4).measure(desk(tmp_path, policy))
        assert found.cells["order_sd"] == found.cells["order_range"] == {"lists.jsonl:1": 0.0}
        assert found.cells["order_tau"]["lists.jsonl:1"] == pytest.approx(1)
        cells.append({name: found.cells[name] for name in MEASURES})
    assert all(c == cells[0] for c in cells)


def test_candidates_in_the_prompt_make_it_sensitive(tmp_path: Path) -> None:
    text = "{prompt} of\n{candidates}"
    policy = Weights(layers=2)
    found = task(tmp_path, template=text, audit=6).measure(desk(tmp_path, policy))
    scores = {(s["key"], tuple(s["shown"])): s["scores"] for s in found.samples}
    (own,) = [s for (key, shown), s in scores.items() if key.endswith(":1") and shown == (2, 0, 1)]
    asked = front("q of\n- c\n- a\n- bb")
    ended = [[*TEMPLATE.ids([t])[0], TEMPLATE.end_id] for t in ROWS[0]["candidates"]]
    assert own == pytest.approx([policy.plain(asked, ids) for ids in ended], abs=1e-4)
    assert set(found.cells) == {*MEASURES, "order_sd", "order_range", "order_tau", "position_bias"}


def test_the_forest_ranks_as_the_padded_oracle(tmp_path: Path) -> None:
    class Padded(Weights):
        def collator(self) -> Collator:
            layout = packing(self.model, "padded", torch.device("cpu"))
            return Collator(layout, cost_of(self.model))

    for decoder in ("likelihood.independent", "likelihood.inlist"):
        one, other = (
            list(task(tmp_path, decoder=decoder).measure(desk(tmp_path, kind(layers=2))).samples)
            for kind in (Weights, Padded)
        )
        for a, b in zip(one, other, strict=True):
            assert a["scores"] == pytest.approx(b["scores"], abs=1e-4) and a["key"] == b["key"]


class Writer:
    """A sampler whose policy writes `say(prompt, copy)`; counts what it writes."""

    needs_model = False

    def __init__(self, say: Any) -> None:
        self.say, self.written, self.open = say, 0, 10**9

    def generator(self, policy: Any) -> Writer:
        return self

    def responses(self, work: Work, mode: Any, known: Any, rank: int, world: int) -> Any:
        for prompt in work.prompts:
            for copy in range(work.n):
                if (mode, prompt.row, copy) in known:
                    continue
                if self.written == self.open:
                    raise KeyboardInterrupt
                self.written += 1
                text = self.say(prompt.messages[-1].content, copy)
                r = split(text, opened=False)
                yield [Made(mode, prompt.row, copy, r.trace, r.answer, r.closed)]


def shown(text: str) -> list[str]:
    return [line[2:] for line in text.splitlines() if line.startswith("- ")]


BEST = {"a": 0, "bb": 2, "c": 1, "d": 1, "e": 0, "fg": 0, "h": 0}


def perfect(text: str, copy: int) -> str:
    return "\n".join(sorted(shown(text), key=lambda c: -BEST[c]))


def test_who_knows_the_relevance_writes_a_perfect_list(tmp_path: Path) -> None:
    found = task(tmp_path, decoder="generate", n=2, audit=3).measure(
        desk(tmp_path, sampler=Writer(perfect))
    )
    for name in ("ndcg_exp@1", "ndcg_exp@3", "ndcg@3", "mrr", "map", "p@1"):
        assert [*found.cells[f"thinking/{name}"].values()] == [1.0, 1.0]
    for name in ("invented", "missing", "repeated", "unclosed", "order_sd"):
        assert [*found.cells[f"thinking/{name}"].values()] == [0.0, 0.0]


def test_who_says_nothing_gets_what_chance_gives(tmp_path: Path) -> None:
    """The mean over all orders, which drawn ones come near; and it is told."""
    rows = [ROWS[0]] * 1
    found = task(tmp_path, rows, decoder="generate", measures=["mrr"]).measure(
        desk(tmp_path, sampler=Writer(lambda text, copy: ""))
    )
    (value,) = found.cells["thinking/mrr"].values()
    assert value == pytest.approx((1 + 1 + 0.5) / 3, abs=0.15)  # two of three are relevant
    assert [*found.cells["thinking/missing"].values()] == [1.0]
    assert [*found.cells["thinking/no_answer"].values()] == [1.0]
    assert any("100.0 % of the candidates" in note for note in found.notes)


def test_who_copies_the_order_shown_is_found_out(tmp_path: Path) -> None:
    copying = Writer(lambda text, copy: "\n".join(shown(text)))
    found = task(tmp_path, decoder="generate", audit=5).measure(desk(tmp_path, sampler=copying))
    assert [*found.cells["thinking/position_bias"].values()] == pytest.approx([1.0, 1.0])
    assert min(found.cells["thinking/order_range"].values()) > 0


def test_what_is_invented_and_repeated_is_told_beside(tmp_path: Path) -> None:
    say = Writer(lambda text, copy: "bb\nnone of these\nbb\nc")
    found = task(tmp_path, [ROWS[0]], decoder="generate").measure(desk(tmp_path, sampler=say))
    rates = {n: [*found.cells[f"thinking/{n}"].values()] for n in ("invented", "repeated",
             "missing")}  # fmt: skip
    assert rates == {"invented": [0.25], "repeated": [0.25], "missing": [pytest.approx(1 / 3)]}
    assert [*found.cells["thinking/ndcg_exp@3"].values()] == [pytest.approx(1)]


def test_stopped_half_way_it_goes_on_to_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Writer(perfect)
    asked = task(tmp_path, decoder="generate", n=3, audit=2)
    wanted = asked.measure(desk(tmp_path, sampler=whole))
    stopped, place = Writer(perfect), desk(tmp_path)
    stopped.open = 4
    with pytest.raises(KeyboardInterrupt):
        asked.measure(replace(place, sampler=stopped))
    stopped.open = 10**9
    assert asked.measure(replace(place, sampler=stopped)).cells == wanted.cells
    assert stopped.written == whole.written == 2 * 2 * 3

    monkeypatch.setattr(likelihood, "TOKENS", 1)
    policy, scored = Weights(), task(tmp_path, decoder="likelihood.inlist")
    wanted, place = scored.measure(desk(tmp_path, policy)), desk(tmp_path, policy)
    count = policy.trees
    scored.measure(place)
    (log,) = place.folder.glob("*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]) + lines[3][:5])
    assert scored.measure(place).cells == wanted.cells
    assert policy.trees == count + count + len(lines) - 3


def test_a_list_that_is_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bvrank.evaluation.decoders.positions", lambda model: 100)
    rows = [{"prompt": "q" * 90, "candidates": ["a", "b"], "relevance": [1, 0]}, ROWS[0]]
    found = task(tmp_path, rows, audit=2).measure(desk(tmp_path))
    assert len(found.cells["mrr"]) == 1 and sum(found.counts.values()) == 1
    assert any("1 lists could not be shown" in note for note in found.notes)
    with pytest.raises(DataError, match="no list can be scored"):
        task(tmp_path, rows[:1]).measure(desk(tmp_path))


def test_without_anything_relevant_there_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no list that can be ranked"):
        task(tmp_path, ROWS[2:4]).measure(desk(tmp_path))


VALUES = {"reduce": "sum", "permutations": 2, "separator": "; ", "n": 2, "end_token": True}


@pytest.mark.parametrize("key", OWN)
def test_what_a_decoder_does_not_read_is_refused(tmp_path: Path, key: str) -> None:
    for decoder in ("likelihood.independent", "likelihood.inlist", "generate"):
        given: Any = {"decoder": decoder, key: VALUES[key]}
        if decoder in OWN[key][0]:
            task(tmp_path, **given)
        else:
            with pytest.raises(ConfigError, match=f"{key}: has no effect with decoder={decoder}"):
                task(tmp_path, **given)


@pytest.mark.parametrize(
    ("key", "given"),
    [("permutations", {"decoder": "likelihood.inlist", "permutations": 0}), ("audit", {"audit": 1}),
     ("n", {"decoder": "generate", "n": 0}), ("audit", {"audit": -1}),
     ("separator", {"decoder": "likelihood.inlist", "separator": ""}),
     ("template", {"template": "no slot"}), ("measures", {"measures": ["ndcf"]}),
     ("template", {"decoder": "generate", "template": "{prompt}"})],
)  # fmt: skip
def test_settings_out_of_range(tmp_path: Path, key: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: "):
        task(tmp_path, **given)


def test_likelihoods_take_no_number_of_responses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^n: has no effect"):
        task(tmp_path).measure(desk(tmp_path, n=3))


def test_what_is_needed_depends_on_the_decoder(tmp_path: Path) -> None:
    assert task(tmp_path).needs == "policy"
    assert task(tmp_path, decoder="generate").needs == "responses"
