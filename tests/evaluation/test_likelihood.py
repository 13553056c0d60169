"""Log-probs are those of one plain forward pass, and are computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bvrank.data.encoding import encode
from bvrank.evaluation import likelihood
from bvrank.evaluation.likelihood import VIEWS, behind, likelihoods
from bvrank.models.tiny import tiny_model
from bvrank.records import BARE, FULL, Candidate, Encoded, Example, Message
from bvrank.scoring.collate import Collator
from bvrank.scoring.scorer import Scorer, cost_of, packing
from tests.sampling.saying import TEMPLATE


class Weights:
    """A policy of a tiny model; counts what it scores. `open`: whether it may."""

    template = TEMPLATE

    def __init__(self, seed: int = 0, layers: int = 1) -> None:
        self.model = tiny_model(seed, hidden_size=16, layers=layers, heads=2, intermediate_size=16)
        self.trees, self.open = 0, True

    def collator(self) -> Collator:
        return Collator(packing(self.model, "forest", torch.device("cpu")), cost_of(self.model))

    def scorer(self) -> Any:
        assert self.open
        module = Scorer(self.model).eval()

        def score(batch: Any) -> Any:
            self.trees += len(batch.where)
            return module(batch)

        return score

    def other(self, model: Any) -> Any:
        return model

    def plain(self, front: Any, ids: Any) -> float:
        """log pi(ids | front) by the model's own forward."""
        with torch.no_grad():
            logits = self.model(torch.tensor([[*front, *ids]])).logits.double()
        logps = logits.log_softmax(-1)[0]
        return sum(float(logps[len(front) + i - 1, t]) for i, t in enumerate(ids))


def examples(count: int = 3) -> list[Example]:
    """Pairs in both views."""
    found = []
    for i in range(count):
        sides = [Candidate(f"{i}{y}", f"so {i}", FULL, "thinking", y, int(y)) for y in (1.0, 0.0)]
        sides += [Candidate(f"{i}.{y}", None, BARE, "nothinking", y, int(y)) for y in (1.0, 0.0)]
        found.append(Example(f"p:{i}", (Message("user", f"{i}+{i}=?"),), tuple(sides)))
    return found


def trees() -> dict[int, Encoded]:
    rows, refused = encode(examples(), TEMPLATE, views=VIEWS, max_length=999)
    assert not refused
    return dict(enumerate(rows))


def plainly(policy: Weights, tree: Encoded) -> list[float]:
    found = []
    for branch in tree.branches:
        *front, own = tree.paths()[branch.segments[-1]]
        context = [t for s in front if s not in branch.segments for t in tree.segments[s].ids]
        ids = [t for s in branch.segments for t in tree.segments[s].ids]
        assert own == branch.segments[-1]
        found.append(policy.plain(context, ids))
    return found


def test_they_are_those_of_a_plain_forward(tmp_path: Path) -> None:
    policy = Weights()
    found = likelihoods(tmp_path, "x", trees(), policy)
    for row, tree in trees().items():
        assert found[row] == pytest.approx(plainly(policy, tree), abs=1e-4)


def test_ids_behind_contexts_of_their_own(tmp_path: Path) -> None:
    policy, parts = Weights(), [([1, 2, 3], [4, 5]), ([7], [4, 5]), ([1, 2, 3], [9])]
    tree = behind("a", parts)
    assert [s.parent for s in tree.segments].count(-1) == 2
    found = likelihoods(tmp_path, "x", {5: tree}, policy)
    assert found[5] == pytest.approx([policy.plain(*p) for p in parts], abs=1e-4)


def test_what_is_known_is_not_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "TOKENS", 1)  # a batch to each tree
    policy = Weights()
    whole = likelihoods(tmp_path, "x", trees(), policy)
    log = tmp_path / "x-00000.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:1]) + b'{"mode": "pl')
    assert likelihoods(tmp_path, "x", trees(), policy) == whole and policy.trees == 3 + 2
    policy.open = False
    assert likelihoods(tmp_path, "x", trees(), policy) == whole
    assert likelihoods(tmp_path, "y", {}, policy) == {}


def test_batches_change_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = likelihoods(tmp_path, "x", trees(), Weights())
    monkeypatch.setattr(likelihood, "TOKENS", 1)
    alone = likelihoods(tmp_path, "y", trees(), Weights())
    for row, values in together.items():
        assert alone[row] == pytest.approx(values, abs=1e-4)
