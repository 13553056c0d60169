"""What the rooms promise each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from bvrank.ranks import Ranks
from bvrank.records import (
    Asked,
    Example,
    Measured,
    Outcome,
    Preferences,
    Refused,
    Scored,
    StepReport,
    TokenBatch,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@runtime_checkable
class Objective(Protocol):
    """A frozen dataclass of hyper-parameters; a pure function of log-probs."""

    @property
    def views(self) -> tuple[str, ...]:
        """The views it reads, in the order of axis V."""

    @property
    def candidates(self) -> int | None:
        """How many candidates a view must have at least (None: any number)."""

    @property
    def needs_reference(self) -> bool:
        """Whether `Preferences.reference` has to be filled."""

    def __call__(self, prefs: Preferences) -> Outcome:
        """Loss, denominators, terms and metrics of a batch."""


class Source(Protocol):
    """Yields examples and the rows it had to refuse, in file order, the same every time."""

    def rows(self) -> Iterable[Example | Refused]:
        """Every row of the source. DataError when the file itself is broken."""


class Reward(Protocol):
    """Scores answers, one by one: an answer's score does not depend on what else is asked, but for
    the last bits of a model's, which follow what shares a batch. `together`: so many answers at a
    time make their own batches; None where none are made."""

    together: ClassVar[int | None]

    @property
    def needs_gold(self) -> bool:
        """Whether it compares with the known answer: without one there is no score."""

    @property
    def identity(self) -> str:
        """Everything its scores depend on, so that scores can be kept by content."""

    def scores(self, asked: Iterable[Asked]) -> Iterator[Scored]:
        """Every key exactly once, in any order; reads `asked` as it goes. RunError where it cannot
        go on: what has not come has no score yet, and is asked for again by the next call."""


class Batches(Protocol):
    """A stateless stream: the batch of a step is a function of (seed, step) alone."""

    def step(self, number: int, views: tuple[str, ...]) -> Iterator[TokenBatch]:
        """This rank's micro-batches of optimiser step `number` (1-based), with the views asked for;
        as many on every rank."""


class Engine(Protocol):
    """Owns the module and the optimizer. Every method but `discard` is called by all ranks."""

    module: nn.Module
    device: torch.device

    @property
    def ranks(self) -> Ranks:
        """The processes it works in."""

    def expect(self, forwards: int) -> None:
        """Says how many backwards the coming step has; as many on every rank."""

    def score(self, batch: TokenBatch) -> Tensor:
        """Log-probs float64 [V,B,K] of the batch's candidates, with gradient in train mode."""

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of this micro-batch's share of the global loss."""

    def gradients(self, batch: TokenBatch, losses: Callable[[Tensor], Sequence[Tensor]],
                  sketch: Any) -> Tensor:  # fmt: skip
        """float64 [L,D] on the CPU: the gradient of each loss that `losses` makes of the batch's
        log-probs, as `sketch` projects it; this rank's own, the only method that ranks need not
        call together. It leaves no trace: not in accumulated gradients, nor in an optimizer."""

    def step(self, learning_rate: float) -> float:
        """One optimiser step; returns the gradient's global norm before clipping. A non-finite
        norm leaves weights and moments untouched."""

    def discard(self) -> None:
        """Forgets accumulated gradients."""

    def plain(self, fresh: Callable[[], Any]) -> Any:
        """The model as it is now, to generate with; None on all ranks but the first. `fresh` makes
        another model of its kind, for an engine that holds its own in parts."""

    def save(self, folder: Path) -> list[Path]:
        """Writes policy/ and engine/ below `folder`, which every rank sees; returns the files
        that this rank wrote."""

    def load(self, folder: Path) -> None:
        """Restores what `save` wrote, exactly."""


class Measure(Protocol):
    """What is measured before a step, and what of the objective follows from it."""

    def __call__(self, number: int, objective: Objective, engine: Engine,
                 known: Mapping[str, float]) -> Measured:  # fmt: skip
        """Before optimiser step `number` (1-based) of `objective`; `known` is what the step before
        was left with. Called by all ranks, before every step; changes nothing of the engine."""


class Task(Protocol):
    """An evaluation: a frozen dataclass of data and settings; conf/task/<x>.yaml is its schema.

    `version`: of its figures, raised when a change moves them. `needs`: responses (of a policy
    here, or of a server), policy (its likelihoods: weights are here) or nothing (files alone). A
    task of a policy that draws no responses has `draws`, which is False: n, modes and sampler are
    then refused.
    """

    name: str
    version: ClassVar[int]
    needs: ClassVar[Literal["responses", "policy", "nothing"]]

    def measure(self, desk: Any) -> Any:
        """What bvrank.evaluation.desk.Desk gives, measured: a bvrank.evaluation.result.Measured.
        Goes on where an earlier call stopped; ConfigError and DataError before anything is made."""


class Tracker(Protocol):
    """Receives what is logged. Must never raise into the run."""

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """Called once, before step 1."""

    def log(self, report: StepReport) -> None:
        """One line of flat keys."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Called once, at the end."""
