"""A folder that transformers wrote, or a model of the hub: read without pickles and without code.

Weights come from safetensors only, code that a folder brings is never run, and a hub that cannot be
reached is found out in seconds; its cache is read then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bvrank.errors import ConfigError, ModelError
from bvrank.hub import offline, reachable

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class Folder:
    """`path`: a folder, or a hub id (`revision`: its branch, tag or commit). `key` is the config
    node that names it. ConfigError, of that node, when the two cannot be."""

    path: str
    revision: str | None = None
    key: str = "model"

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ConfigError("must name a folder or a hub id", where="path")
        if self.revision is not None and self.local.exists():
            raise ConfigError("is for hub ids, but path is a folder", where="revision")

    @property
    def local(self) -> Path:
        """Where it lies if it is a folder."""
        return Path(self.path).expanduser()

    def tokenizer(self) -> Any:
        """The folder's tokenizer. ModelError when there is none."""
        from transformers import AutoTokenizer

        if (self.local / "config.json").is_file() and not any(
            (self.local / name).is_file() for name in TOKENIZERS
        ):
            raise ModelError(  # transformers 5 makes up an empty one
                "holds no tokenizer", where=self.path,
                repair="Copy tokenizer.json and tokenizer_config.json of the base model into it.",
            )  # fmt: skip
        return self.loaded(AutoTokenizer.from_pretrained, "tokenizer")

    def weights(self, load: Any, what: str, **options: Any) -> Any:
        """What the `from_pretrained` of a model class makes of its safetensors."""
        self._check_weights()
        return self.loaded(load, what, use_safetensors=True, **options)

    def loaded(self, load: Any, what: str, **options: Any) -> Any:
        """What a `from_pretrained` makes of it. ModelError when it makes nothing."""
        local = self.local
        if (local / "adapter_config.json").is_file() and not (local / "config.json").is_file():
            raise ModelError("is an adapter, not a model", where=self.path, repair=self._base)
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

    @property
    def _base(self) -> str:
        if self.key != "model":
            return f"Merge it into its base model, and set {self.key}.path to the result."
        return "Set model.path to its base model and model.lora.path to this folder."

    def _check_weights(self) -> None:
        """ModelError when the folder has no safetensors but pickled weights."""
        pickled = sorted(p.name for e in PICKLED for p in self.local.glob(f"*{e}"))
        if pickled and not any(self.local.glob("*.safetensors")):
            raise ModelError(
                f"holds pickled weights alone ({pickled[0]}): loading them can run any code",
                where=self.path,
                repair="Ask for model.safetensors, or convert it where you trust its source: "
                "save_pretrained writes safetensors.",
            )

    def _missing(self, error: Exception, what: str, online: bool) -> ModelError:
        if online:
            why = next((line for line in str(error).splitlines() if line.strip()), repr(error))
            return ModelError(f"no {what} could be loaded ({why[:200]})", where=self.path)
        hint = "" if not _is_hub_id(self.path) else " and the hub cannot be reached"
        return ModelError(
            f"there is no such model folder{hint}", where=self.path,
            repair=f"Set {self.key}.path to a folder that save_pretrained wrote.",
        )  # fmt: skip


def _is_hub_id(path: str) -> bool:
    return path.count("/") <= 1 and not path.startswith((".", "/", "~")) and " " not in path
