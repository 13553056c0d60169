"""A desk whose model says what the test has it say, and judges on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from bvrank.evaluation.desk import Desk
from bvrank.evaluation.judging import OpenAI
from bvrank.records import Mode
from bvrank.sampling.local import Work
from bvrank.sampling.openai import Server
from bvrank.sampling.pacing import Backoff
from bvrank.sampling.responses import Made, Prompt

Says = Callable[[Prompt, Mode], Any]
QUICK = Backoff(initial=0.001, maximum=0.01)


class Speaker:
    """A sampler: `says` gives an answer, or a Made."""

    needs_model = False

    def __init__(self, says: Says) -> None:
        self.says, self.asked = says, 0

    def generator(self, policy: Any) -> Speaker:
        return self

    def responses(self, work: Work, mode: Mode, known: Container[Any], rank: int, world: int
                  ) -> Iterator[list[Made]]:  # fmt: skip
        for prompt in work.prompts:
            if (mode, prompt.row, 0) not in known:
                self.asked += 1
                said = self.says(prompt, mode)
                made = said if isinstance(said, dict) else {"answer": said, "tokens": 3}
                yield [Made(mode, prompt.row, 0, **{"think": "secret thought", **made})]


def desk(folder: Path, says: Says, modes: Sequence[Mode] = ("thinking",), **keys: Any) -> Desk:
    folder.mkdir(exist_ok=True)
    return Desk(folder, tuple(modes), 0, Speaker(says), **keys)


def openai(url: str, **keys: Any) -> OpenAI:
    server = {"model": "tiny", "base_url": url, "timeout": 20.0, "backoff": QUICK}
    own = {k: keys.pop(k) for k in [*keys] if k not in ("max_failed", "opened")}
    return OpenAI(Server(**{**server, **own}), **keys)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def save(path: Path, rows: Sequence[Any]) -> Path:
    """As JSON, or as lines of it by the name."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows), encoding="utf-8")
    return path
