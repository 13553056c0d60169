"""TRL's arm of a benchmark: its own DPOTrainer on the same token ids in the same order.

The only file that imports trl, and only in a process that measures it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bvrank.bench.own import loaded
from bvrank.bench.worker import Turns


def steps(job: Mapping[str, Any], turns: Turns) -> None:
    """Steps in file order, for as long as the trainer is told to run."""
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    torch.set_num_threads(job["threads"])
    (view,) = job["views"]
    found = [row[view] for row in json.loads(Path(job["rows"]).read_text())]
    rows = Dataset.from_list(
        [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in found]
    )

    class Ids(DPOTrainer):
        """Takes rows that are tokenised already, one after another."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(rows)

        def training_step(self, *given: Any, **named: Any) -> Any:
            loss = super().training_step(*given, **named)  # type: ignore[no-untyped-call]
            losses.append(loss)
            return loss

    class Taking(TrainerCallback):
        """Stops before the first step and behind each."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            turns.ready()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.done(float(sum(losses)))
            losses.clear()

    losses: list[Any] = []
    micro, batch = job["micro"], job["batch"]
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder, per_device_train_batch_size=micro,
            gradient_accumulation_steps=batch // micro, max_length=None, beta=job["beta"],
            learning_rate=job["lr"], lr_scheduler_type="constant", weight_decay=0.0,
            precompute_ref_log_probs=job["reference"] == "precomputed",
            precompute_ref_batch_size=1 if job["device"] == "cpu" else micro,
            gradient_checkpointing=job["recompute"], torch_compile=job["compile"],
            use_cpu=job["device"] == "cpu", bf16=job["precision"] == "bf16",
            max_steps=10**6, logging_strategy="no", save_strategy="no", report_to=[],
            disable_tqdm=True, dataloader_drop_last=True, seed=0,
        )  # fmt: skip
        trainer = Ids(
            model=loaded(job["model"]), args=config, train_dataset=rows,
            processing_class=PreTrainedTokenizerFast.from_pretrained(job["model"]),
            callbacks=[Taking()],
        )  # fmt: skip
        trainer.train()
