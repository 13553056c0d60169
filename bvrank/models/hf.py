"""A model folder saved by transformers, or one of the hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from bvrank.errors import ModelError
from bvrank.models.corpus import Corpus
from bvrank.models.folder import Folder
from bvrank.models.lora import LoRA


@dataclass(frozen=True)
class HF:
    """The node of model=hf. Weights come from safetensors only; code that a model folder brings
    is never run. `path`: a folder, or a hub id (`revision`: its branch, tag or commit).
    """

    path: str
    revision: str | None = None
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    lora: LoRA = field(default_factory=LoRA)

    def __post_init__(self) -> None:
        Folder(self.path, self.revision)

    @property
    def _folder(self) -> Folder:
        return Folder(self.path, self.revision)

    def tokenizer(self, corpus: Corpus) -> Any:
        """The folder's tokenizer. ModelError when there is none."""
        return self._folder.tokenizer()

    def model(self, tokenizer: Any, seed: int) -> Any:
        """The folder's weights in float32. ModelError when they cannot be loaded."""
        import torch
        from transformers import AutoModelForCausalLM

        model = self._folder.weights(
            AutoModelForCausalLM.from_pretrained, "causal language model", dtype=torch.float32,
            attn_implementation=self.attention,
        )  # fmt: skip
        rows, tokens = model.get_input_embeddings().weight.shape[0], len(tokenizer)
        if tokens > rows:
            raise ModelError(
                f"the tokenizer has {tokens} tokens but the embedding {rows} rows", where=self.path,
                repair="Save the model again after resize_token_embeddings.",
            )  # fmt: skip
        return model

    def skeleton(self) -> Any:
        """The model without weights, on torch's meta device. ModelError as for `model`."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = self._folder.loaded(AutoConfig.from_pretrained, "configuration")
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
