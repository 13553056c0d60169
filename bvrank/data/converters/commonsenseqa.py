"""CommonsenseQA (arXiv 1811.00937): five options, one of them right.

    {"id": ..., "question": {"stem": ..., "choices": [{"label": "A", "text": ...}, ...]},
     "answerKey": "A"}

The official form and the hub's. The official test file has no answers: its rows are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from bvrank.data.converters.choices import Choices


@dataclass(frozen=True)
class CommonsenseQA(Choices):
    """One relevant option (1), the others 0, and options of other questions up to `list_size`."""
