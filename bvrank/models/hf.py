"""A model folder saved by transformers, or one of the hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bvrank.errors import ConfigError, ModelError
from bvrank.hub import offline, reachable
from bvrank.models.corpus import Corpus
from bvrank.models.lora import LoRA

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


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
        if not self.path.strip():
            raise ConfigError("must name a folder or a hub id", where="path")
        if self.revision is not None and self._local.exists():
            raise ConfigError("is for hub ids, but path is a folder", where="revision")

    @property
    def _local(self) -> Path:
        return Path(self.path).expanduser()

    def tokenizer(self, corpus: Corpus) -> Any:
        """The folder's tokenizer. ModelError when there is none."""
        from transformers import AutoTokenizer

        local = Path(self.path).expanduser()
        if (local / "config.json").is_file() and not any(
            (local / name).is_file() for name in TOKENIZERS
        ):
            raise ModelError(  # transformers 5 makes up an empty one
                "holds no tokenizer", where=self.path,
                repair="Copy tokenizer.json and tokenizer_config.json of the base model into it.",
            )  # fmt: skip
        return self._loaded(AutoTokenizer.from_pretrained, "tokenizer")

    def model(self, tokenizer: Any, seed: int) -> Any:
        """The folder's weights in float32. ModelError when they cannot be loaded."""
        import torch
        from transformers import AutoModelForCausalLM

        self._check_weights()
        model = self._loaded(
            AutoModelForCausalLM.from_pretrained, "causal language model", dtype=torch.float32,
            attn_implementation=self.attention, use_safetensors=True,
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

        config = self._loaded(AutoConfig.from_pretrained, "configuration")
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]

    def _check_weights(self) -> None:
        """ModelError when the folder has no safetensors but pickled weights."""
        pickled = sorted(p.name for e in PICKLED for p in self._local.glob(f"*{e}"))
        if pickled and not any(self._local.glob("*.safetensors")):
            raise ModelError(
                f"holds pickled weights alone ({pickled[0]}): loading them can run any code",
                where=self.path,
                repair="Ask for model.safetensors, or convert it where you trust its source: "
                "save_pretrained writes safetensors.",
            )

    def _loaded(self, load: Any, what: str, **options: Any) -> Any:
        local = self._local
        if (local / "adapter_config.json").is_file() and not (local / "config.json").is_file():
            raise ModelError(
                "is an adapter, not a model",
                where=self.path,
                repair="Set model.path to its base model and model.lora.path to this folder.",
            )
        if local.exists() and not (local / "config.json").is_file():
            raise ModelError(
                "is no model folder: it holds no config.json", where=self.path,
                repair="Name a folder that save_pretrained wrote.",
            )  # fmt: skip
        online = local.exists() or (_is_hub_id(self.path) and reachable())
        try:
            with offline(not online):
                return load(
                    str(local) if local.exists() else self.path, revision=self.revision,
                    trust_remote_code=False, **options,
                )  # fmt: skip
        except Exception as error:  # transformers raises from a dozen unrelated classes
            raise self._missing(error, what, online) from error

    def _missing(self, error: Exception, what: str, online: bool) -> ModelError:
        if online:
            why = next((line for line in str(error).splitlines() if line.strip()), repr(error))
            return ModelError(f"no {what} could be loaded ({why[:200]})", where=self.path)
        hint = "" if not _is_hub_id(self.path) else " and the hub cannot be reached"
        return ModelError(
            f"there is no such model folder{hint}", where=self.path,
            repair="Set model.path to a folder that save_pretrained wrote.",
        )  # fmt: skip


def _is_hub_id(path: str) -> bool:
    return path.count("/") <= 1 and not path.startswith((".", "/", "~")) and " " not in path
