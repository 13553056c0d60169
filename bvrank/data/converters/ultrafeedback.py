"""UltraFeedback (arXiv 2310.01377): four responses to a prompt, each rated in several aspects.

    {"instruction": ..., "completions": [{"response": ..., "overall_score": 7.5,
     "annotations": {"helpfulness": {"Rating": "4"}, ...}}, ...]}
    {"prompt": ..., "chosen": [messages], "rejected": [messages], "score_chosen": 8.0,
     "score_rejected": 6.0}

The original rows, of which pairs or graded lists are made, and the pairs of the hub's "binarized"
one. `overall_score` is known to be 10 for responses that were rated 1; the mean of the aspects is
not affected, so it is what counts here unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from bvrank.data.converters import Draft
from bvrank.data.converters.pairing import (
    Pick,
    check_apart,
    check_gap,
    drafted,
    picked,
    redrafted,
    score,
)
from bvrank.data.converters.pool import plain_key
from bvrank.data.lists import Lists
from bvrank.data.refusals import NO_PREFERENCE, Unfit
from bvrank.data.turns import as_prompt, text, written_prompt
from bvrank.errors import ConfigError
from bvrank.records import Message, Refused


@dataclass(frozen=True)
class UltraFeedback:
    """kind: pairs (one of each prompt), or lists of all responses with their scores as relevance.
    score: the mean of the aspects' ratings, or the overall score. pick: the best against the worst,
    or against one at random of the others. min_gap: leave out pairs whose scores differ by less.
    """

    kind: Literal["pairs", "lists"] = "pairs"
    score: Literal["ratings", "overall"] = "ratings"
    pick: Pick = "best_worst"
    min_gap: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_gap(self.min_gap)
        for name, plain in (("min_gap", 0), ("pick", "best_worst")):
            if self.kind == "lists" and getattr(self, name) != plain:
                raise ConfigError("says which pair to make, but kind=lists makes none", where=name)

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one pair or list, or why there is none."""
        try:
            if "completions" in row:
                return [self._rated(where, row)]
            if self.kind == "lists":
                raise Unfit("missing", "'completions' is missing: a binarized row makes no list")
            check_apart(row.get("score_chosen"), row.get("score_rejected"), self.min_gap)
            form = "prompt" if row.get("prompt") is not None else "implicit"
            return [redrafted(where, row, form)]
        except Unfit as error:
            return [error.refused(where)]

    def _rated(self, where: str, row: Mapping[str, Any]) -> Draft:
        asked = text(row.get("instruction"), "instruction")
        prompt = as_prompt((Message("user", asked),), "instruction")
        completions = row["completions"]
        if not isinstance(completions, list) or not all(isinstance(c, dict) for c in completions):
            raise Unfit("wrong_type", "'completions' is no list of objects")
        scored = [(self._score(c), text(c.get("response"), "response")) for c in completions]
        scored = [(s, r) for s, r in scored if r.strip()]
        if self.kind == "lists":
            return _list(where, prompt, scored)
        return drafted(where, prompt, *picked(scored, self.pick, self.min_gap, self.seed, asked))

    def _score(self, completion: Mapping[str, Any]) -> float:
        if self.score == "overall":
            return score(completion.get("overall_score"), "overall_score")
        aspects = completion.get("annotations")
        if not isinstance(aspects, dict):
            raise Unfit("bad_score", "a response has no 'annotations'")
        given = [a.get("Rating") for a in aspects.values() if isinstance(a, dict)]
        ratings = [score(r, "Rating") for r in given if r not in (None, "N/A")]
        if not ratings:
            raise Unfit("bad_score", "a response has no rating")
        return fmean(ratings)


def _list(where: str, prompt: tuple[Message, ...], scored: list[tuple[float, str]]) -> Draft:
    """Responses in the order of the row; of those that are the same the best counts."""
    gains: dict[str, float] = {}
    for gain, response in scored:
        gains[response] = max(gain, gains.get(response, gain))
    if len(set(gains.values())) < 2 <= len(gains):
        raise Unfit(NO_PREFERENCE, "all responses have the same score")
    row = {
        "prompt": written_prompt(prompt),
        "candidates": list(gains),
        "relevance": list(gains.values()),
    }
    Lists(where).example(where, row)
    return Draft(where, (f"text|{plain_key(prompt[0].content)}",), row)
