"""Reference log-probs: a phase of their own, kept by content.

A branch's key covers every token id before it, its own ids and which of them are scored; entries
lie below the identity of the reference (weights, dtype, attention, layout). Beta, alpha, learning
rate, seed and folder are no part of either, so no sweep computes a value twice. The rows of a run
that miss a value are scored in partitions, in the file's order; one that was cut short leaves
nothing and is computed again as a whole, which keeps its values bit-equal. A key that exists keeps
the value it has, so the last bits depend on which run came first: each run keeps its own values.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bvrank.errors import RunError
from bvrank.models.lora import bare_weights
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Branch, Encoded, TokenBatch
from bvrank.run import write_atomic
from bvrank.run.folder import told
from bvrank.scoring.collate import Collator, Row
from bvrank.scoring.values import KeyedFiles, Values, mapped_floats

PARTITION = 64  # rows
BUDGET = 16_384  # tokens per forward, at least one row


@dataclass(frozen=True)
class Reference:
    """What the phase yields: float64 [branches] of each row, and its cost."""

    values: Values
    computed: int  # rows scored now
    found: int  # rows that lay in the store
    digest: str  # of all values

    def at(self, numbers: Sequence[int] | np.ndarray, size: int) -> Reference:
        """The same for `size` rows, where these stand at `numbers`; the others have no values."""
        return replace(self, values=self.values.at(numbers, size))


class ReferenceStore:
    """The entries of one reference, below `<folder>/reference/<hash of identity>`. `damaged` lists
    files that are not whole; what was in them is computed again."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder / "reference" / hashlib.sha256(identity.encode()).hexdigest()[:24]
        with contextlib.suppress(OSError):  # the day of its last use, for `bvrank store gc`
            os.utime(self.folder)
        self.files = KeyedFiles(self.folder)
        self.damaged = self.files.damaged

    def fill(self, rows: Sequence[Encoded], score: Callable[[TokenBatch], Tensor],
             collate: Collator, on_progress: Callable[[int], None] = lambda _: None,
             ranks: Ranks = ALONE) -> Reference:  # fmt: skip
        """Reference log-probs of every row, from the store where they are there.

        Partitions of the rows that miss a value go round the ranks. The first rank's store is the
        one that counts: it says what is missing, keeps what was scored, and hands the values to
        all.
        """
        keys, ends = all_keys(rows)
        missing = ranks.agree(self._missing(keys, ends) if ranks.first else np.zeros(0, int))
        if len(rows) > len(missing):
            on_progress(len(rows) - len(missing))
        parts = [missing[i : i + PARTITION] for i in range(0, len(missing), PARTITION)]
        for start in range(0, len(parts), ranks.world):
            turn = parts[start : start + ranks.world]
            scored = _scored([[rows[int(i)] for i in p] for p in turn], score, collate, ranks)
            if ranks.first:
                for numbers, values in zip(turn, scored, strict=True):
                    self._keep(np.concatenate([_of(keys, ends, i) for i in numbers]), values)
            on_progress(sum(map(len, turn)))
        found = None
        if ranks.first:
            known, flat = self.files.look_up(keys)
            if not known.all():
                raise RunError(f"{(~known).sum():,} reference log-probs got lost meanwhile",
                               where=str(self.folder), repair="Start again.")  # fmt: skip
            digest = hashlib.sha256(flat.tobytes()).hexdigest()[:16]
            found = Reference(Values(flat, ends), len(missing), len(rows) - len(missing), digest)
        return ranks.agree(found)  # type: ignore[return-value]

    def _missing(self, keys: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The rows that hold a key which neither the store nor a row before them has."""
        known, _ = self.files.look_up(keys)
        _, first = np.unique(keys, return_index=True)
        new = np.zeros(len(keys), bool)
        new[first] = True
        new &= ~known
        row = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        return np.unique(row[new])

    def _keep(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Adds what is new. Equal branches (one title twice, say) share the first one's value."""
        known, _ = self.files.look_up(keys)
        _, first = np.unique(keys, return_index=True)
        new = np.zeros(len(keys), bool)
        new[first] = True
        new &= ~known
        try:
            self.files.add(keys[new], values[new])
        except OSError as error:
            raise RunError(
                f"reference log-probs could not be written ({error.strerror or error})",
                where=str(self.folder), repair="Make room, or name another folder with store=.",
            ) from error  # fmt: skip


def write_values(path: Path, reference: Reference) -> None:
    """Keeps a run's own values beside it. RunError when the disk does not take them."""
    content = reference.values.flat.astype("<f8").tobytes()
    with told(path.parent):
        write_atomic(path, content)


def read_values(path: Path, rows: Sequence[Encoded], digest: str) -> Reference | None:
    """What `write_values` kept of these rows, mapped; None when it is gone or not what `digest`
    says."""
    _, ends = all_keys(rows)
    flat = mapped_floats(path, digest)
    if flat is None or len(flat) != (ends[-1] if len(ends) else 0):
        return None
    return Reference(Values(flat, ends), 0, len(rows), digest)


def all_keys(rows: Sequence[Encoded]) -> tuple[np.ndarray, np.ndarray]:
    """uint64 keys of all branches, row after row, and int64 [rows] where each row's end. Rows that
    were kept with their keys are not hashed again."""
    if hasattr(rows, "all_keys"):
        found: tuple[np.ndarray, np.ndarray] = rows.all_keys()
        return found
    parts = [np.asarray(branch_keys(row), np.uint64) for row in rows]
    ends = np.cumsum([len(p) for p in parts], dtype=np.int64)
    return np.concatenate([np.zeros(0, np.uint64), *parts]), ends


def _of(values: np.ndarray, ends: np.ndarray, row: int) -> np.ndarray:
    """The part of a row."""
    return values[ends[row - 1] if row else 0 : ends[row]]


def branch_keys(row: Encoded) -> list[int]:
    """A 64-bit key per branch: all ids from the root to its end, and which are scored."""
    paths = row.paths()
    return [_branch_key(row, branch, paths) for branch in row.branches]


def model_identity(model: Any) -> str:
    """Everything that makes a model the function it is: weights, configuration, adapters."""
    configs = [model.config, *getattr(model, "peft_config", {}).values()]
    return _identity(model.state_dict(), configs)


def base_identity(model: Any) -> str:
    """The same of the model below an adapter: what it is without one."""
    return _identity(bare_weights(model), [model.config])


def model_digest(model: nn.Module) -> str:
    """Hash of every weight, by name, dtype and value: what makes a reference the same."""
    return _digest(model.state_dict())


def _identity(weights: Mapping[str, Tensor], configs: Sequence[Any]) -> str:
    text = json.dumps([_telling(c.to_dict()) for c in configs], sort_keys=True, default=_listed)
    return f"{_digest(weights)}|{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _digest(weights: Mapping[str, Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def _telling(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration less what only says where it came from."""
    silent = ("_name_or_path", "base_model_name_or_path", "transformers_version", "peft_version",
              "inference_mode", "use_cache", "dtype", "architectures", "revision")  # fmt: skip
    return {k: v for k, v in config.items() if k not in silent}


def _listed(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


def _branch_key(row: Encoded, branch: Branch, paths: list[tuple[int, ...]]) -> int:
    path = max((paths[s] for s in branch.segments), key=len)
    ids = np.concatenate([row.segments[s].ids for s in path]).astype(np.int32)
    scored = np.concatenate([np.full(len(row.segments[s].ids), s in branch.segments) for s in path])
    digest = hashlib.blake2b(ids.tobytes(), digest_size=8)
    digest.update(b"|" + np.packbits(scored).tobytes())
    return int.from_bytes(digest.digest(), "little")


def _groups(part: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    """Consecutive rows of at most BUDGET tokens."""
    group: list[Encoded] = []
    tokens = 0
    for row in part:
        size = sum(len(s.ids) for s in row.segments)
        if group and tokens + size > BUDGET:
            yield group
            group, tokens = [], 0
        group.append(row)
        tokens += size
    if group:
        yield group


def _scored(parts: Sequence[Sequence[Encoded]], score: Callable[[TokenBatch], Tensor],
            collate: Collator, ranks: Ranks) -> list[np.ndarray]:  # fmt: skip
    """The values of `parts`, one of them scored by each rank. All ranks do as many forwards, as
    weights that are divided among them are gathered by all together."""
    groups = [list(_groups(part)) for part in parts]
    own = groups[min(ranks.rank, len(groups) - 1)]
    forwards = [own[i] if i < len(own) else own[0] for i in range(max(map(len, groups)))]
    values = [_score(group, score, collate) for group in forwards][: len(own)]
    return ranks.gather(np.concatenate(values))[: len(parts)]


def _score(group: list[Encoded], score: Callable[[TokenBatch], Tensor], collate: Collator
           ) -> np.ndarray:  # fmt: skip
    """Values of the group's branches, flat, in branch order."""
    views = tuple(dict.fromkeys(b.view for row in group for b in row.branches))
    values = score(collate([[Row(row)] for row in group], views)).detach().cpu().numpy()
    out = []
    for b, row in enumerate(group):
        seen = dict.fromkeys(views, 0)
        for branch in row.branches:
            out.append(values[views.index(branch.view), b, seen[branch.view]])
            seen[branch.view] += 1
    return np.asarray(out, np.float64)
