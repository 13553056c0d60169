"""What a job tells the sweep that started it.

    {"status": "done" | "skipped" | "failed", "folder": str, "headline": {name: figure},
     "message": str}

Every key but `status` may be left out. `headline` is what the sweep's table shows of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "BVRANK_OUTCOME"


def write_outcome(outcome: Mapping[str, Any]) -> None:
    """Leaves `outcome` where the sweep looks for it; outside a sweep does nothing."""
    if path := os.environ.get(VARIABLE):
        Path(path).write_text(json.dumps(dict(outcome)), encoding="utf-8")


def read_outcome(path: Path) -> dict[str, Any]:
    """What the job wrote to `path`; empty when it wrote nothing or died while writing."""
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return outcome if isinstance(outcome, dict) else {}
