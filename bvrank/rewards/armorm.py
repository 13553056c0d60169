"""reward=armorm: ArmoRM, Wang et al. 2024, arXiv 2406.12845 (RLHFlow/ArmoRM-Llama3-8B-v0.1).

    rewards = W h_last                         [R,O]  O objectives, at the conversation's last token
    weights = gating(h_prompt)                 [R,O]  a softmax, at the last token of the prompt
    score   = sum_o weights_o (rewards M)_o    [R]    M takes the length out of the objectives

The published code is not run: this is its form, with its names of weights and of configuration
keys. It reads the gating where the last `<|eot_id|><|start_header_id|>assistant<|end_header_id|>`
begins, so at the token that ends the user's turn; here that is where the prompt ends when it is
rendered without the header of an answer, which needs no token ids and which no text can imitate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaModel
from transformers.models.llama.modeling_llama import LlamaPreTrainedModel

from bvrank.errors import ModelError
from bvrank.records import Asked, Scored
from bvrank.rewards.batching import Figures, Row, padded, scored
from bvrank.rewards.reader import Reader

VERSION = 1  # of how scores are computed; what an older version scored is scored again
OBJECTIVES = (  # of the published model, in the order of its card
    "helpsteer-helpfulness", "helpsteer-correctness", "helpsteer-coherence", "helpsteer-complexity",
    "helpsteer-verbosity", "ultrafeedback-overall_score", "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness", "ultrafeedback-honesty", "ultrafeedback-helpfulness",
    "beavertails-is_safe", "prometheus-score", "argilla-overall_quality", "argilla-judge_lm",
    "code-complexity", "code-style", "code-explanation", "code-instruction-following",
    "code-readability",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ArmoRM(Reader):
    """Scores by the gated sum; `details` holds the objectives before they are weighted.

    Unscored: `too_long`, `special_token`, `template`, `not_finite`.
    """

    @property
    def identity(self) -> str:
        """Weights, template, precision and longest conversation."""
        return self._identified("armorm", version=VERSION)

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """In batches of similar length."""
        return scored(
            asked, self._row, self._forward, longest=self._longest, budget=self.batch_tokens
        )

    @cached_property
    def _model(self) -> Any:
        if self._config.model_type != "llama":
            raise ModelError(f"is a {self._config.model_type}, not a llama", where=self.path)
        return self._loaded(
            Network.from_pretrained, "ArmoRM", "A plain reward model is scored by reward=model."
        )

    def _row(self, asked: Asked) -> Row:
        ids = self._conversation.ids(asked)
        return Row(asked.key, ids, gate=self._conversation.prompt(asked, ids) - 1)

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Row]) -> list[Figures]:
        ids, mask = padded(rows, 0, self._place)  # [R,T] each; causal: what pads is never seen
        gates = torch.tensor([r.gate for r in rows], device=self._place)
        score, rewards = self._model(ids, mask, gates)
        width = rewards.shape[-1]
        names = OBJECTIVES if width == len(OBJECTIVES) else [f"objective_{i}" for i in range(width)]
        return [
            (value, dict(zip(names, row, strict=True)))
            for value, row in zip(score.tolist(), rewards.tolist(), strict=True)
        ]


class Network(LlamaPreTrainedModel):  # type: ignore[no-untyped-call]
    """The Llama body and its heads, by the names of the published weights."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        count = getattr(config, "num_objectives", 19)
        self.model = LlamaModel(config)
        self.regression_layer = nn.Linear(config.hidden_size, count, bias=False)
        self.reward_transform_matrix = nn.Parameter(torch.eye(count))
        self.gating = Gating(config, count)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, ids: Tensor, mask: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [R] and objectives [R,O], float32, of right-padded ids [R,T]; `gates` [R] are the
        positions of the prompts' ends."""
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state  # [R,T,width]
        row, last = torch.arange(len(ids), device=ids.device), mask.sum(1) - 1
        rewards = self.regression_layer(hidden[row, last])  # [R,O]
        weights = self.gating(hidden[row, gates])
        score = (weights * (rewards @ self.reward_transform_matrix).float()).sum(1)
        return score, rewards.float()


class Gating(nn.Module):
    """What the prompt says of the objectives' weights."""

    def __init__(self, config: Any, count: int) -> None:
        super().__init__()
        width = getattr(config, "gating_hidden_dim", 1024)
        self.temperature = getattr(config, "gating_temperature", 10)
        self.logit_scale = nn.Parameter(torch.ones(1))
        sizes = [config.hidden_size, *[width] * getattr(config, "gating_n_hidden", 3), count]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, hidden: Tensor) -> Tensor:
        """Weights [R,O], float32; they add up to logit_scale."""
        for layer in self.layers[:-1]:
            hidden = torch.relu(layer(hidden))
        logits = self.layers[-1](hidden).float()
        weights: Tensor = (logits / self.temperature).softmax(1) * self.logit_scale[0].float()
        return weights
