"""`bvrank doctor`: a set-up that checks itself before it trains.

Exit code 0 when nothing is wrong (notes are nothing), 1 for a warning or a problem, 2 for a
configuration that `bvrank train` would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bvrank.commands.build import construct
from bvrank.commands.diagnosis import Check, console, document, exit_code, show
from bvrank.data.flaws import Finding
from bvrank.errors import BvrankError, ConfigError

if TYPE_CHECKING:
    from bvrank.commands.train import Request


@dataclass(frozen=True)
class Proof:
    """The run that is broken off in its middle and resumed: an even number of `steps`."""

    steps: int = 4

    def __post_init__(self) -> None:
        if self.steps < 2 or self.steps % 2:
            raise ConfigError(f"must be even and at least 2, got {self.steps}", where="steps")


@dataclass(frozen=True)
class Options:
    """The keys that `bvrank train` does not have."""

    json: bool = False
    proof: Proof = field(default_factory=Proof)


def main(config: dict[str, Any]) -> int:
    """Checks, or proves resume; prints what was found."""
    own = {k: v for k, v in config.items() if k in Options.__dataclass_fields__}
    options: Options = construct(Options, own, "")
    training = {k: v for k, v in config.items() if k not in own}
    try:
        checks = _checks(training, options)
    except BvrankError as error:
        if options.json:  # a script gets its document whatever happens
            found = Finding("request", "refused", "problem", str(error), error.repair)
            print(document([Check("configuration", "request", "cannot be checked", (found,))]))
        raise
    if options.json:
        print(document(checks))
    else:
        show(checks, console())
    return exit_code(checks)


def _checks(config: dict[str, Any], options: Options) -> list[Check]:
    from bvrank.commands.train import request

    if config["resume"]:
        from bvrank.commands.proof import proven

        request(config)
        return proven(config, options.proof.steps)
    return list(_examined(request(config)))


def _examined(asked: Request) -> Iterator[Check]:
    from transformers.utils.logging import disable_progress_bar

    from bvrank.commands import assemble, space, surroundings
    from bvrank.commands.examine import check_data
    from bvrank.engines.local import Local
    from bvrank.models.corpus import Corpus

    disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = asked.model.tokenizer(Corpus(lambda: assemble.texts_of(asked.source), asked.store))
    skeleton, weights = _tried(lambda: space.weights_of(asked.model, tokenizer))
    yield surroundings.check_versions()
    alone = isinstance(asked.engine, Local)  # others spread weights and moments over ranks
    trained = weights.trained if weights and alone else None
    yield surroundings.check_accelerator(asked.engine, asked.settings.precision, trained)
    yield space.check_disk(asked.settings, asked.store, weights)
    yield space.check_store(asked.store)
    yield from check_data(asked, tokenizer, skeleton)


def _tried(make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """What `make` returns; (None, None) for an architecture that knows no meta device."""
    try:
        return make()
    except BvrankError:
        raise
    except Exception:
        return None, None
