"""Reference log-probs: a phase of their own, kept by content.

A branch's key covers every token id before it, its own ids and which of them are scored; entries
lie below the identity of the reference (weights, dtype, attention, layout). Beta, alpha, learning
rate, seed and folder are no part of either, so no sweep computes a value twice. The rows that
a run draws are scored in fixed partitions, in the file's order; one that was cut short leaves
nothing and is computed again as a whole, which keeps its values bit-equal. A key that exists keeps
the value it has, so the last bits depend on which run came first: each run keeps its own values.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bvrank.errors import RunError
from bvrank.ranks import ALONE, Ranks
from bvrank.records import Branch, Encoded, TokenBatch
from bvrank.run import write_atomic
from bvrank.run.folder import told
from bvrank.scoring.collate import Collator, Row

PARTITION = 64  # rows
BUDGET = 16_384  # tokens per forward, at least one row


@dataclass(frozen=True)
class Reference:
    """What the phase yields: one float64 array per row (one value per branch), and its cost."""

    values: tuple[np.ndarray, ...]
    computed: int  # rows scored now
    found: int  # rows that lay in the store
    digest: str  # of all values

    def at(self, numbers: Sequence[int], size: int) -> Reference:
        """The same for `size` rows, where these stand at `numbers`; the others have no values."""
        spread = [np.zeros(0)] * size
        for number, values in zip(numbers, self.values, strict=True):
            spread[number] = values
        return replace(self, values=tuple(spread))


class ReferenceStore:
    """The entries of one reference, below `<folder>/reference/<hash of identity>`. `damaged` lists
    those that are not whole; what was in them is computed again."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder / "reference" / hashlib.sha256(identity.encode()).hexdigest()[:24]
        with contextlib.suppress(OSError):  # the day of its last use, for `bvrank store gc`
            os.utime(self.folder)
        found = {path: _read(path) for path in sorted(self.folder.glob("*.values"))}
        parts = [p for p in found.values() if p is not None]
        self.damaged = [path for path, part in found.items() if part is None]
        keys = np.concatenate([k for k, _ in parts]) if parts else np.zeros(0, np.uint64)
        values = np.concatenate([v for _, v in parts]) if parts else np.zeros(0)
        self.keys, first = np.unique(keys, return_index=True)
        self.known = values[first]
        self.fresh: dict[int, float] = {}

    def fill(self, rows: Sequence[Encoded], score: Callable[[TokenBatch], Tensor],
             collate: Collator, on_progress: Callable[[int], None] = lambda _: None,
             ranks: Ranks = ALONE) -> Reference:  # fmt: skip
        """Reference log-probs of every row, from the store where they are there.

        Partitions go round the ranks. The first rank's store is the one that counts: it says what
        is missing, keeps what was scored, and hands the values to all.
        """
        parts = [rows[i : i + PARTITION] for i in range(0, len(rows), PARTITION)]
        keys = [np.asarray([k for row in p for k in branch_keys(row)], np.uint64) for p in parts]
        missing = ranks.agree(self._missing(keys) if ranks.first else [])
        computed = sum(len(parts[n]) for n in missing)
        if len(rows) > computed:
            on_progress(len(rows) - computed)
        for start in range(0, len(missing), ranks.world):
            numbers = missing[start : start + ranks.world]
            scored = _scored([parts[n] for n in numbers], score, collate, ranks)
            if ranks.first:
                for number, values in zip(numbers, scored, strict=True):
                    self._keep(keys[number], values)
            on_progress(sum(len(parts[n]) for n in numbers))
        found = self._all(parts, keys, computed) if ranks.first else None
        return ranks.agree(found)  # type: ignore[return-value]

    def _missing(self, keys: Sequence[np.ndarray]) -> list[int]:
        """The partitions that hold a key which neither the store nor one before them has."""
        missing, coming = [], set[int]()
        for number, own in enumerate(keys):
            new = set(own[~self._look_up(own)[0]].tolist()) - coming
            if new:
                missing.append(number)
                coming |= new
        return missing

    def _all(self, parts: Sequence[Sequence[Encoded]], keys: Sequence[np.ndarray], computed: int
             ) -> Reference:  # fmt: skip
        values: list[np.ndarray] = []
        for part, own in zip(parts, keys, strict=True):
            found, flat = self._look_up(own)
            for i in np.flatnonzero(~found):
                flat[i] = self.fresh[int(own[i])]
            values.extend(np.split(flat, np.cumsum([len(r.branches) for r in part])[:-1]))
        whole = np.concatenate(values) if values else np.zeros(0)
        digest = hashlib.sha256(whole.tobytes()).hexdigest()[:16]
        return Reference(tuple(values), computed, len(values) - computed, digest)

    def _look_up(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which keys are known (bool) and their values (0 where unknown)."""
        if not len(self.keys):
            return np.zeros(len(keys), bool), np.zeros(len(keys))
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        found = self.keys[at] == keys
        return found, np.where(found, self.known[at], 0.0)

    def _keep(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Adds what is new. Equal branches (one title twice, say) share the first one's value."""
        found, _ = self._look_up(keys)
        added = {}
        for key, value, known in zip(keys.tolist(), values.tolist(), found, strict=True):
            if not known and key not in self.fresh:
                self.fresh[key] = added[key] = value
        self._write(np.asarray(list(added), np.uint64), np.asarray(list(added.values())))

    def _write(self, keys: np.ndarray, values: np.ndarray) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_packed(keys, values))
                name = hashlib.sha256(keys.tobytes()).hexdigest()[:24]
                if _read(self.folder / f"{name}.values") is None:  # else another run was first
                    os.replace(temporary, self.folder / f"{name}.values")
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"reference log-probs could not be written ({error.strerror or error})",
                where=str(self.folder), repair="Make room, or name another folder with store=.",
            ) from error  # fmt: skip


def torn_files(folder: Path) -> list[Path]:
    """The files of one reference that are not what was written."""
    return [p for p in sorted(folder.glob("*.values")) if _read(p) is None]


def write_values(path: Path, reference: Reference) -> None:
    """Keeps a run's own values beside it. RunError when the disk does not take them."""
    content = np.concatenate([np.zeros(0), *reference.values]).astype("<f8").tobytes()
    with told(path.parent):
        write_atomic(path, content)


def read_values(path: Path, rows: Sequence[Encoded], digest: str) -> Reference | None:
    """What `write_values` kept of these rows; None when it is gone or not what `digest` says."""
    sizes = [len(row.branches) for row in rows]
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest()[:16] != digest:
        return None
    flat = np.frombuffer(path.read_bytes(), "<f8")
    if len(flat) != sum(sizes):
        return None
    return Reference(tuple(np.split(flat, np.cumsum(sizes)[:-1])), 0, len(rows), digest)


def branch_keys(row: Encoded) -> list[int]:
    """A 64-bit key per branch: all ids from the root to its end, and which are scored."""
    paths = row.paths()
    return [_branch_key(row, branch, paths) for branch in row.branches]


def model_identity(model: Any) -> str:
    """Everything that makes a model the function it is: weights, configuration, adapters."""
    configs = [model.config, *getattr(model, "peft_config", {}).values()]
    text = json.dumps([_telling(c.to_dict()) for c in configs], sort_keys=True, default=_listed)
    return f"{model_digest(model)}|{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def model_digest(model: nn.Module) -> str:
    """Hash of every weight, by name, dtype and value: what makes a reference the same."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
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


def _packed(keys: np.ndarray, values: np.ndarray) -> bytes:
    """SHA-256 of the rest, then the keys (uint64), then as many values (float64), little-endian.
    An .npz would let some flipped bits through, or raise nearly anything."""
    content = keys.astype("<u8").tobytes() + values.astype("<f8").tobytes()
    return hashlib.sha256(content).digest() + content


def _read(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """What `_packed` made, or None when it is not whole: the values are computed again."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, content = data[:32], data[32:]
    if len(content) % 16 or hashlib.sha256(content).digest() != digest:
        return None
    middle = len(content) // 2
    return np.frombuffer(content[:middle], "<u8"), np.frombuffer(content[middle:], "<f8")
