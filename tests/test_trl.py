"""The same numbers as TRL's own losses, values and gradients."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bvrank.objectives.apo_down import APODown
from bvrank.objectives.apo_zero import APOZero
from bvrank.objectives.dpo import DPO
from bvrank.objectives.hinge import Hinge
from bvrank.objectives.ipo import IPO
from bvrank.objectives.orpo import ORPO
from bvrank.objectives.robust import Robust
from bvrank.objectives.sft import SFT
from bvrank.objectives.simpo import SimPO
from bvrank.records import Preferences

pytest.importorskip("trl")

PAIRS, PROMPT, LONGEST = 7, 3, 6
BETA, SMOOTHING = 0.4, 0.2


class Pairs:
    """Token log-probs [2 PAIRS, positions], chosen ones first, behind a prompt of PROMPT tokens."""

    def __init__(self, seed: int, length: int | None = None) -> None:
        make = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, LONGEST + 1, (2 * PAIRS,), generator=make)
        self.lengths = lengths if length is None else torch.full_like(lengths, length)
        place = torch.arange(PROMPT + LONGEST)
        self.mask = (place >= PROMPT) & (place < PROMPT + self.lengths.unsqueeze(1))
        shape = (2 * PAIRS, PROMPT + LONGEST - 1)
        noise = torch.rand(shape, generator=make, dtype=torch.float64)
        self.tokens = (-3 * noise * self.mask[:, 1:]).requires_grad_()
        shift = torch.randn(2 * PAIRS, generator=make, dtype=torch.float64)
        self.reference = self.tokens.detach().sum(1) + shift

    @property
    def logps(self) -> Tensor:
        """Of the completions, [2 PAIRS]."""
        return (self.tokens * self.mask[:, 1:]).sum(1)

    def preferences(self) -> Preferences:
        """The same pairs as an objective sees them, [1, PAIRS, 2]."""

        def sides(x: Tensor) -> Tensor:
            return torch.stack(x.chunk(2), -1).unsqueeze(0)

        policy = sides(self.logps)
        whole = torch.zeros(policy.shape, dtype=torch.long)
        return Preferences(
            policy=policy, reference=sides(self.reference), length=sides(self.lengths),
            relevance=torch.tensor([1.0, 0.0]).expand(policy.shape), rank=whole, answer=whole,
            valid=whole == 0, draw=whole.double(),
        )  # fmt: skip


def same(pairs: Pairs, ours: Tensor, theirs: Tensor, rtol: float = 1e-12) -> None:
    """Value, and gradient with respect to every token's log-prob."""
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=rtol, atol=rtol)
    mine, others = (torch.autograd.grad(x, pairs.tokens, retain_graph=True)[0]
                    for x in (ours, theirs))  # fmt: skip
    torch.testing.assert_close(mine, others, rtol=rtol, atol=rtol)
    assert float(others.abs().sum()) > 0


def mean(objective: Any, pairs: Pairs) -> Tensor:
    outcome = objective(pairs.preferences())
    return outcome.loss.sum() / outcome.count.sum()


def by_dpo_trainer(pairs: Pairs, kinds: dict[str, float]) -> Tensor:
    """TRL's DPOTrainer on `pairs`, in place of the trainer and the model what they would yield."""
    from trl.trainer.dpo_trainer import DPOTrainer

    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True), accelerator=accelerator, aux_loss_enabled=False,
        ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", beta=BETA,
        loss_types=[*kinds], loss_weights=[*kinds.values()], label_smoothing=SMOOTHING,
        use_weighting=False, _metrics={"train": defaultdict(list)}, _total_train_tokens=0,
        _tp_size=1,
    )  # fmt: skip
    shown = torch.zeros_like(pairs.tokens.detach())
    outputs = SimpleNamespace(
        log_probs=pairs.tokens * pairs.mask[:, 1:], entropy=shown, mean_logits=shown,
        is_top1=shown > 0,
    )  # fmt: skip
    chosen, rejected = pairs.reference.chunk(2)
    inputs = {
        "input_ids": torch.zeros(pairs.mask.shape, dtype=torch.long),
        "attention_mask": torch.ones(pairs.mask.shape, dtype=torch.long),
        "completion_mask": pairs.mask.long(), "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }  # fmt: skip
    loss: Tensor = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)
    return loss


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "objective"), [
    ("sigmoid", DPO(BETA)), ("hinge", Hinge(BETA)), ("ipo", IPO(BETA)),
    ("robust", Robust(BETA, label_smoothing=SMOOTHING)), ("apo_zero", APOZero(BETA)),
    ("apo_down", APODown(BETA)), ("sft", SFT()),
])  # fmt: skip
def test_of_dpo_trainer(kind: str, objective: Any, seed: int) -> None:
    pairs = Pairs(seed)
    same(pairs, mean(objective, pairs), by_dpo_trainer(pairs, {kind: 1.0}))


@pytest.mark.parametrize(("kind", "objective"), [
    ("sigmoid", DPO(BETA)), ("ipo", IPO(BETA)), ("apo_zero", APOZero(BETA)),
])  # fmt: skip
def test_with_sft_beside_where_lengths_are_equal(kind: str, objective: Any) -> None:
    """Else TRL's is a mean over the tokens of the batch, and ours over its examples."""
    weighted = replace(objective, sft_weight=0.3)
    pairs = Pairs(1, length=4)
    same(pairs, mean(weighted, pairs), by_dpo_trainer(pairs, {kind: 1.0, "sft": 0.3}))
    ragged = Pairs(1)
    theirs = by_dpo_trainer(ragged, {kind: 1.0, "sft": 0.3})
    assert float(mean(weighted, ragged).detach()) != pytest.approx(float(theirs.detach()))


def means(pairs: Pairs) -> tuple[Tensor, Tensor]:
    chosen, rejected = (pairs.logps / pairs.lengths).chunk(2)
    return chosen, rejected


@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_of_cpo_trainer_as_simpo(gamma: float) -> None:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    trainer = SimpleNamespace(
        alpha=0.0, accelerator=SimpleNamespace(device=torch.device("cpu")), loss_type="simpo",
        simpo_gamma=gamma, beta=2.0, label_smoothing=0.0,
    )  # fmt: skip
    pairs = Pairs(0)
    losses, *_ = CPOTrainer.cpo_loss(trainer, *means(pairs))
    same(pairs, mean(SimPO(2.0, gamma=gamma), pairs), losses.mean())
    torch.testing.assert_close(SimPO(2.0, gamma=gamma)(pairs.preferences()).loss[0], losses)


def test_of_orpo_trainer() -> None:
    """TRL computes it in fp32, and returns what it subtracts from the NLL."""
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    trainer = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device=torch.device("cpu")))
    pairs = Pairs(0)
    losses, *_ = ORPOTrainer.odds_ratio_loss(trainer, *means(pairs))
    ours = ORPO(0.3, sft_weight=0.0)
    same(pairs, mean(ours, pairs), -losses.mean(), rtol=2e-6)
    torch.testing.assert_close(
        ours(pairs.preferences()).loss[0], -losses.double(), rtol=1e-5, atol=1e-6
    )
