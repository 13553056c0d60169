"""The frozen records that travel along the one path.

    Example (text) -> Encoded (token tree) -> TokenBatch (packed rows) -> Preferences -> Outcome

Shape legend, used everywhere:

    V views   B examples   K candidates (padded)   N rows   T tokens   S segments   M scored tokens
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # reports read records without paying for torch
    import numpy as np
    import torch
    from torch import Tensor

FULL, BARE = "full", "bare"
Mode = Literal["thinking", "nothinking", "plain"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Candidate:
    """One possible completion of a prompt, as text.

    `view` is the slot the objective sees. `mode` says how it is rendered: `thinking` shows `trace`,
    `nothinking` closes an empty think block before the answer, `plain` is the answer alone where
    the template allows that. `answer_id` names the final answer: traces that reach one share it.
    """

    answer: str
    trace: str | None = None
    view: str = FULL
    mode: Mode = "plain"
    relevance: float = 0.0
    answer_id: int = 0


@dataclass(frozen=True)
class Example:
    """One row of a preference data set: a prompt and its candidates over all views.

    `where` names file and row for messages and refused.jsonl. `shown` (1-based, one number per
    candidate) is the position in which each candidate stood in a list; None lets (seed, row)
    decide.
    """

    where: str
    prompt: tuple[Message, ...]
    candidates: tuple[Candidate, ...]
    shown: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Refused:
    """A row that cannot train, and why. `reason` is a short slug that is counted."""

    where: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Segment:
    """A run of tokens hanging below its parent segment (-1: a root). Never empty."""

    parent: int
    ids: np.ndarray  # int32 [tokens]


@dataclass(frozen=True)
class Branch:
    """A scored candidate: the tokens of `segments`, each predicted from the token before it."""

    view: str
    segments: tuple[int, ...]
    relevance: float
    rank: int
    answer: int


@dataclass(frozen=True)
class Encoded:
    """A token tree. Segments stand in topological order (a parent before its children)."""

    where: str
    segments: tuple[Segment, ...]
    branches: tuple[Branch, ...]

    def paths(self) -> list[tuple[int, ...]]:
        """For each segment, the segments from its root to itself."""
        out: list[tuple[int, ...]] = []
        for i, segment in enumerate(self.segments):
            out.append((*out[segment.parent], i) if segment.parent >= 0 else (i,))
        return out

    @property
    def longest(self) -> int:
        """Tokens of the longest root-to-leaf path."""
        ends: list[int] = []
        for s in self.segments:
            ends.append(len(s.ids) + (ends[s.parent] if s.parent >= 0 else 0))
        return max(ends)


@dataclass(frozen=True)
class Block:
    """Attention of the queries [start, stop) of a row to its keys [start, stop): all of them, those
    not after the query (causal), or what a mask leaves of those (tree). `first`: no block before it
    has these queries."""

    queries: tuple[int, int]
    keys: tuple[int, int]
    kind: Literal["causal", "full", "tree"]
    first: bool


@dataclass(frozen=True)
class TokenRows:
    """Rows of one shape that go through the model in one forward.

    Token t of a row may attend to token u when u <= t and `sees[n, segment[n,t], segment[n,u]]`.
    `sees` is None for rows that hold one causal sequence each. `source` indexes the N*T flattened
    positions whose hidden state predicts `target`; `owner` is the flat V*B*K candidate it
    counts for. `blocks`, or `until`, say of a single row what `sees` says: token q may attend to u
    when u <= q < until[u].
    """

    ids: Tensor  # int64 [N,T]
    position: Tensor  # int64 [N,T], depth of the token in its own path
    segment: Tensor  # int64 [N,T], index into S; padding is a segment of its own
    sees: Tensor | None  # bool [N,S,S]
    source: Tensor  # int64 [M]
    target: Tensor  # int64 [M]
    owner: Tensor  # int64 [M]
    tokens: int  # without padding
    blocks: tuple[Block, ...] = ()
    until: Tensor | None = None  # int64 [T]


@dataclass(frozen=True)
class TokenBatch:
    """A micro-batch ready for the model, with everything an objective needs but the log-probs."""

    rows: tuple[TokenRows, ...]
    labels: Preferences  # policy is zeros until scored
    where: tuple[str, ...]  # [B]
    views: tuple[str, ...]  # [V]

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on `device`; out of pinned memory the copy does not wait."""
        return self._each("to", device, non_blocking=True)

    def pinned(self) -> TokenBatch:
        """The same batch in page-locked memory."""
        return self._each("pin_memory")

    def _each(self, method: str, *args: Any, **options: Any) -> TokenBatch:
        rows = tuple(_done(r, method, *args, **options) for r in self.rows)
        labels = _done(self.labels, method, *args, **options)
        return TokenBatch(rows, labels, self.where, self.views)

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, without padding."""
        return sum(r.tokens for r in self.rows)


@dataclass(frozen=True)
class Preferences:
    """What an objective sees. Log-probs are natural logs summed over scored tokens, in float64.

    `draw` holds uniform numbers that depend on (seed, pass, row) alone, so that an objective that
    samples stays a pure function.
    """

    policy: Tensor  # float64 [V,B,K], carries the gradient
    reference: Tensor  # float64 [V,B,K], zeros when the objective needs none
    relevance: Tensor  # float32 [V,B,K], graded gain, larger is better; a pair is (1, 0)
    rank: Tensor  # int64 [V,B,K], 1-based position in which the candidate was shown
    length: Tensor  # int64 [V,B,K], scored tokens
    valid: Tensor  # bool [V,B,K], False on padding; a view a row lacks is all False
    answer: Tensor  # int64 [V,B,K], which final answer a candidate belongs to
    draw: Tensor  # float64 [V,B,K] in [0,1)


@dataclass(frozen=True)
class Outcome:
    """What an objective returns. The trainer divides each view's global sum of `loss` by its
    global `count` and adds the views; that number is logged and differentiated."""

    loss: Tensor  # float64 [V,B], already weighted per view
    count: Tensor  # float64 [V,B], each entry's share of the denominator; 0 where absent
    terms: Mapping[str, Tensor] = field(default_factory=dict)  # [V,B], in the graph
    metrics: Mapping[str, Tensor] = field(default_factory=dict)  # [V,B], detached


@dataclass(frozen=True)
class StepReport:
    """One optimiser step as it is logged: flat names to numbers."""

    step: int  # 1-based
    values: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """What was measured before a step: figures that are logged, fields of the objective that are
    set by it, and what has to be known for the next time (saved with the trainer's state)."""

    values: Mapping[str, float] = field(default_factory=dict)
    fields: Mapping[str, float] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskResult:
    """A measured figure with its honesty: n, standard error, 95 % interval."""

    task: str
    step: int
    value: float
    n: int
    stderr: float
    interval: tuple[float, float]
    version: int = 1
    higher_is_better: bool = True
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """An answer to score. `key` names it; `gold` is what a verifier compares with, `recorded` a
    score that came with the response."""

    key: str
    prompt: tuple[Message, ...]
    answer: str
    gold: str | None = None
    recorded: float | None = None


@dataclass(frozen=True)
class Scored:
    """The score of `key`, larger is better; None where there is none, and then `reason` is a slug
    that is counted. `details` are figures behind the score."""

    key: str
    score: float | None
    reason: str = ""
    details: Mapping[str, float] = field(default_factory=dict)


def _done(record: Any, method: str, *args: Any, **options: Any) -> Any:
    """The record with what `method` makes of each of its tensors."""
    values = {
        k: getattr(v, method)(*args, **options) if hasattr(v, method) else v
        for k, v in vars(record).items()
    }
    return type(record)(**values)
