"""Judges of `task=alpaca_eval` and `task=arena_hard`: a model behind a server, or a recorded file.

A verdict is kept by the content of its question (the judge, the messages, how it is drawn), in the
folder of the evaluation the moment it is there and, when judging ends, below the store: the same
question is never paid for twice. What never came (timeouts, servers that are away) is not kept, and
what nobody can read stays in the folder alone: the same command asks for both again. A judge that
does not judge gives failures, which are counted.

Judges are shown final answers alone; their own thinking is not searched for a verdict.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bvrank.answers import split
from bvrank.errors import ConfigError, RunError
from bvrank.evaluation.desk import Desk
from bvrank.records import Message
from bvrank.run.files import to_json
from bvrank.run.store import kept, whole
from bvrank.sampling.chat import Decoding, Failure, Reply, Request
from bvrank.sampling.openai import Server, complete
from bvrank.sampling.responses import Log
from bvrank.tracking.progress import phase

LOG = "verdicts.jsonl"
KIND = "verdicts"  # of the store
UNREAD = "verdict_unparsable"
K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What a judge is asked."""

    messages: tuple[Message, ...]
    decoding: Decoding


@dataclass(frozen=True)
class Verdict:
    """What it said. `first`: log-probs of what could have been its first token."""

    key: str
    text: str
    finish: str
    first: Mapping[str, float] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    opened: bool = False

    @property
    def cut(self) -> bool:
        """Whether it reached its limit: what may have followed is not known."""
        return self.finish == "length"

    @property
    def answer(self) -> str | None:
        """Without its thinking; None where that never closed."""
        return split(self.text, opened=self.opened).answer

    @property
    def odds(self) -> Mapping[str, float]:
        """`first`, where it is the first token of the answer and not of a thought."""
        return (self.first or {}) if self.answer == self.text else {}


@dataclass(frozen=True)
class OpenAI:
    """judge=openai: a model behind a server of chat completions. `opened`: its template opens the
    think block and the server does not repeat it, so that a text without `</think>` is a thought
    that was cut off. `max_failed`: share of questions that may stay without a verdict; with more of
    them there is no figure but an error."""

    server: Server
    opened: bool = False
    max_failed: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.max_failed <= 1:
            raise ConfigError(f"must lie in [0, 1], got {self.max_failed}", where="max_failed")

    def hear(self, desk: Desk, questions: Mapping[K, Question], read: Callable[[Verdict], T | None],
             alternatives: int = 0) -> tuple[dict[K, T], Counter[str]]:  # fmt: skip
        """What `read` makes of the verdict on each question, and why there is none on others.
        `alternatives`: log-probs of so many first tokens are asked for. RunError for too many
        failures; what did come is kept."""
        judge = self._with(alternatives)
        requests = {key: judge._request(question) for key, question in questions.items()}

        def fits(verdict: Verdict) -> bool:
            return read(judge._heard(verdict)) is not None

        with Bench(desk, judge._mark, fits) as bench:
            failed = judge._ask(bench, {r.key: r for r in requests.values()})
            verdicts = {key: bench.get(r.key) for key, r in requests.items()}
        found, reasons, cut = {}, Counter[str](), 0
        for key, verdict in verdicts.items():
            said = None if verdict is None else read(judge._heard(verdict))
            if said is not None:
                found[key] = said
            else:
                reasons[UNREAD if verdict else failed[requests[key].key]] += 1
                cut += verdict is not None and verdict.cut
        self._check(reasons, len(questions), cut)
        desk.lacks("judge", sum(reasons.values()) / max(len(questions), 1))
        return found, reasons

    def _heard(self, verdict: Verdict) -> Verdict:
        return replace(verdict, opened=self.opened)

    def _with(self, alternatives: int) -> OpenAI:
        if not alternatives:
            return self
        body = {"logprobs": True, "top_logprobs": alternatives, **self.server.extra_body}
        return replace(self, server=replace(self.server, extra_body=body))

    @property
    def _mark(self) -> str:
        return _hash([self.server.model, self.server.base_url])[:8]

    def _request(self, question: Question) -> Request:
        """Named by all that a verdict depends on."""
        told = [self.server.model, self.server.base_url, dict(self.server.extra_body),
                [asdict(m) for m in question.messages], asdict(question.decoding)]  # fmt: skip
        return Request(_hash(told), question.messages, question.decoding)

    def _ask(self, bench: Bench, requests: Mapping[str, Request]) -> dict[str, str]:
        """Has the bench hold a verdict on each; key -> reason of those that did not come."""
        left = [r for key, r in requests.items() if not bench.settled(key)]
        if not left:
            return {}
        self._estimate(left, len(requests) - len(left))
        failed: dict[str, str] = {}
        told = complete(self.server, left, answered=len(left) < len(requests))
        with phase("judging", len(left)) as shown, closing(told) as results:
            for result in results:
                if isinstance(result, Failure):
                    failed[result.key] = f"judge_{result.reason}"
                else:
                    bench.add(_verdict(result))
                shown.advance(1)
        return failed

    def _estimate(self, left: Sequence[Request], known: int) -> None:
        output = sum(r.decoding.max_tokens for r in left)
        prompt = sum(r.cost for r in left) - output
        print(f"judge: {len(left):,} calls to {self.server.model} at {self.server.base_url}, about "
              f"{prompt:,} prompt tokens, at most {output:,} output tokens; {known:,} verdicts are "
              "there already", file=sys.stderr)  # fmt: skip

    def _check(self, reasons: Counter[str], total: int, cut: int) -> None:
        failed = sum(reasons.values())
        if failed and (failed == total or failed > self.max_failed * total):
            told = ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common())
            raise RunError(
                f"{failed:,} of {total:,} questions stayed without a verdict ({told})",
                where="judge", repair=f"{_repair(reasons, cut)} What was judged is kept. "
                "judge.max_failed is the share that may be missing.",
            )  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """judge=replay: the official file of judgments at `path`; nobody is asked. `answers_path`: the
    answers that were judged, where style is controlled for (arena_hard). `model`: whose judgments
    count, where the file holds several models'."""

    path: str
    answers_path: str | None = None
    model: str | None = None


Judge = OpenAI | Replay


def _repair(reasons: Counter[str], cut: int) -> str:
    """What helps against what failed most."""
    if reasons.most_common(1)[0][0] != UNREAD:
        return "The same command asks again for what did not come."
    longer = f" {cut:,} were cut off: raise decoding.max_tokens of the task." if cut else ""
    return (f"The judge was heard, and {LOG} in the folder has its words, but they hold no verdict."
            f"{longer} The same command asks these again; one that says the same again needs "
            "another prompt, temperature or judge.")  # fmt: skip


def judged(judge: Any) -> Judge:
    """`judge`, a judge; ConfigError for none."""
    if not isinstance(judge, OpenAI | Replay):
        raise ConfigError(
            "nobody judges", where="judge",
            repair="judge=openai judge.server.model=..., or judge=replay judge.path=... with "
            "recorded judgments.",
        )  # fmt: skip
    return judge


class Bench:
    """The verdicts of one judge that are there already, in this folder or below the store; those
    that are added are logged at once. `fits`: whether one can be read; others are not
    shared. Use it in a `with` block, whose end shares what is new."""

    def __init__(self, desk: Desk, mark: str, fits: Callable[[Verdict], bool]) -> None:
        self._folder = None if desk.store is None else desk.store / KIND
        self._mark, self._fits, path = mark, fits, desk.folder / LOG
        self._log = Log(path)
        self._own = {v.key: v for v in _read(path)}
        self._shared = {v.key: v for v in self._lying() if fits(v)}

    def get(self, key: str) -> Verdict | None:
        own, shared = self._own.get(key), self._shared.get(key)
        return shared if shared and not (own and self._fits(own)) else own

    def settled(self, key: str) -> bool:
        """Whether a verdict is there that can be read."""
        found = self.get(key)
        return found is not None and self._fits(found)

    def add(self, verdict: Verdict) -> None:
        self._log.add([verdict])
        self._own[verdict.key] = verdict

    def __enter__(self) -> Bench:
        self._log.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._log.__exit__(*error)
        new = [v for key, v in self._own.items() if key not in self._shared and self._fits(v)]
        if self._folder is None or not new:
            return
        name = f"{self._mark}-{_hash(sorted([v.key, v.text] for v in new))[:16]}"
        text = "".join(to_json(asdict(v)) + "\n" for v in new)
        try:
            kept(self._folder / name, lambda: lambda part: _write(part / LOG, text))
        except RunError as reason:  # the verdicts are in the folder all the same
            print(f"verdicts are not shared: {reason}", file=sys.stderr)

    def _lying(self) -> Iterator[Verdict]:
        if self._folder is not None:
            for entry in sorted(self._folder.glob(f"{self._mark}-*")):
                if whole(entry):
                    yield from _read(entry / LOG)


def _read(path: Path) -> Iterator[Verdict]:
    """The verdicts of a log; a line that is none costs a call, and nothing else."""
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
        try:
            values = json.loads(line) if line.endswith(b"\n") else {}
            first = values.get("first")
            numbers = first and {token: float(value) for token, value in first.items()}
            yield Verdict(**{**values, "first": numbers})
        except (ValueError, TypeError, AttributeError):
            continue


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _verdict(reply: Reply) -> Verdict:
    return Verdict(reply.key, reply.text, reply.finish_reason, reply.first, reply.prompt_tokens,
                   reply.completion_tokens)  # fmt: skip


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
