"""reward=model: any sequence classifier of transformers, such as a Bradley-Terry reward model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from bvrank.errors import ConfigError
from bvrank.records import Asked, Scored
from bvrank.rewards.batching import Figures, Row, padded, scored, unused
from bvrank.rewards.reader import Reader

VERSION = 1  # of how scores are computed; what an older version scored is scored again


@dataclass(frozen=True, kw_only=True)
class Model(Reader):
    """Scores by the logit of a head; `label` chooses one where there are several.

    The score is that of a plain forward of the row alone. Unscored: `too_long`, `special_token`,
    `template`, `not_finite`.
    """

    label: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label is not None and self.label < 0:
            raise ConfigError(f"must be at least 0, got {self.label}", where="label")

    @property
    def identity(self) -> str:
        """Weights, template, precision, longest conversation, and label."""
        return self._identified("model", version=VERSION, label=self._column)

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """In batches of similar length; `details` holds all logits where there are several."""
        return scored(
            asked, self._row, self._forward, longest=self._longest, budget=self.batch_tokens
        )

    @cached_property
    def _column(self) -> int:
        """The head that is read. ConfigError when it has to be chosen, or does not exist."""
        labels = self._config.num_labels
        if self.label is None and labels > 1:
            names = ", ".join(f"{i} {n}" for i, n in list(self._config.id2label.items())[:8])
            raise ConfigError(
                f"the model has {labels} heads ({names})", where="reward.label",
                repair="Choose one by its number.",
            )  # fmt: skip
        if (self.label or 0) >= labels:
            raise ConfigError(
                f"is {self.label}, but the model has {labels} heads", where="reward.label"
            )
        return self.label or 0

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        gated = hasattr(self._config, "gating_hidden_dim")
        repair = "Use reward=armorm." if gated else "Name a model that was saved with its head."
        return self._loaded(
            AutoModelForSequenceClassification.from_pretrained, "sequence classifier", repair
        )

    def _row(self, asked: Asked) -> Row:
        return Row(asked.key, self._conversation.ids(asked))

    def _forward(self, rows: Sequence[Row]) -> list[Figures]:
        column, config = self._column, self._model.config.get_text_config()
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        own = config.pad_token_id
        if own is not None and 0 <= own < vocabulary:
            return self._logits(rows, own, column)
        # The classifier looks for the last token that is no padding. Where its folder names none,
        # an id that stands in no row of the batch leaves every row its own last token.
        pad = unused(rows, vocabulary)
        if pad is None and len(rows) > 1:
            return [figures for row in rows for figures in self._forward([row])]
        config.pad_token_id = pad
        try:
            return self._logits(rows, pad or 0, column)
        finally:
            config.pad_token_id = own

    @torch.inference_mode()
    def _logits(self, rows: Sequence[Row], pad: int, column: int) -> list[Figures]:
        ids, mask = padded(rows, pad, self._place)  # [R,T] each
        logits = self._model(input_ids=ids, attention_mask=mask).logits.float().tolist()
        names = self._model.config.id2label
        return [
            (row[column], {str(names[i]): v for i, v in enumerate(row)} if len(row) > 1 else {})
            for row in logits
        ]
