"""What stayed away when a folder was finished, and whether as much may stay away by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def noted(shares: Mapping[str, float], parts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """As the manifest keeps it under `away`: by part (sampler, reward, judge) the share of what it
    gives that did not come, and the share that was allowed."""
    return {name: {"share": share, "allowed": _allowed(parts.get(name))}
            for name, share in shares.items()}  # fmt: skip


def too_many(manifest: Mapping[str, Any], parts: Mapping[str, Any]) -> bool:
    """Whether more stayed away of any part than is allowed by now, which is less than it was."""
    return any(
        told["share"] > (now := _allowed(parts.get(name))) and now < told["allowed"]
        for name, told in manifest.get("away", {}).items()
    )


def _allowed(part: Any) -> float:
    return float(getattr(part, "max_failed", 1.0))
