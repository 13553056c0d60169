"""Raw rows of every format that a converter reads, and what converters make of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bvrank.data.converters import Draft, finished
from bvrank.records import Refused

REAL = Path(os.environ.get("BVRANK_REAL_DATA", "/nonexistent"))
Made = tuple[list[dict[str, Any]], list[Refused]]


def made(converter: Any, *rows: Any, path: Path | None = None) -> Made:
    """The rows that come of raw rows, or of a file, and what is refused."""
    kept: list[dict[str, Any]] = []
    refused: list[Refused] = []
    drafts: list[Draft] = []
    raw = converter.read(path) if path else ((f"a:{i}", r) for i, r in enumerate(rows, start=1))
    for where, row in raw:
        for item in converter.convert(where, row):
            (drafts if isinstance(item, Draft) else refused).append(item)  # type: ignore[arg-type]
    for found in finished(converter, drafts, drafts):
        (refused if isinstance(found, Refused) else kept).append(found)  # type: ignore[arg-type]
    return kept, refused


def one(converter: Any, row: Any) -> dict[str, Any]:
    """The one row that comes of one raw row."""
    kept, refused = made(converter, row)
    assert (len(kept), refused) == (1, [])
    return kept[0]


def reasons(converter: Any, *rows: Any) -> list[str]:
    """Why nothing comes of the rows."""
    kept, refused = made(converter, *rows)
    assert kept == []
    return [r.reason for r in refused]


def real(*parts: str) -> Path:
    """A file of the real samples; skips where there are none."""
    path = REAL.joinpath(*parts)
    if not path.is_file():
        pytest.skip("needs BVRANK_REAL_DATA")
    return path


def choice(number: int, right: str = "B", options: int = 4) -> dict[str, Any]:
    """A question as AI2 writes it."""
    choices = [{"label": "ABCDE"[i], "text": f"thing {number} {i}"} for i in range(options)]
    question = {"stem": f"Which thing of {number}?", "choices": choices}
    return {"id": f"q{number}", "question": question, "answerKey": right}


def hotpot(number: int, paragraphs: int = 5) -> dict[str, Any]:
    """A question whose first two paragraphs are needed."""
    titles = [f"Title {number} {i}" for i in range(paragraphs)]
    words = " ".join(f"word{i}" for i in range(60))
    context = [[t, [f"About {t}.", f" {words}."]] for t in titles]
    facts = [[titles[0], 0], [titles[1], 1], [titles[0], 1]]
    return {"_id": f"h{number}", "question": f"What about {number}?", "context": context,
            "supporting_facts": facts, "answer": "x"}  # fmt: skip


def musique(number: int, paragraphs: int = 8, answerable: bool = True) -> dict[str, Any]:
    """A question whose first three paragraphs are needed."""
    words = " ".join(f"word{i}" for i in range(60))
    return {
        "id": f"m{number}", "question": f"Who is {number}?", "answerable": answerable,
        "paragraphs": [
            {"idx": i, "title": f"T{number}", "paragraph_text": f"{number} {i} {words}",
             "is_supporting": i < 3} for i in range(paragraphs)
        ],
    }  # fmt: skip


def said(role: str, text: str, *movies: str) -> dict[str, Any]:
    """A turn as UniCRS writes it."""
    return {"text": text, "role": role, "movie": list(movies), "movie_name": list(movies)}


def inspired(number: int) -> list[dict[str, Any]]:
    """A dialogue with two turns that recommend, the second one more than before."""
    return [
        said("RECOMMENDER", f"Hi {number}"),
        said("SEEKER", "I liked Alien", "Alien"),
        said("RECOMMENDER", f"See Film {number}", f"Film {number}"),
        said("SEEKER", "More"),
        said("RECOMMENDER", "Alien and more", "Alien", f"Late {number}", f"Later {number}"),
    ]


def redial(number: int, turn: int = 2) -> dict[str, Any]:
    """A turn as iEvaLM writes it."""
    return {"dialog_id": str(number), "turn_id": turn,
            "entity": ["horror", f"Seen {number} (1999)"],
            "context": ["", f"Hi {number}", f"Like Seen {number}?"],
            "rec": [f"Film {number} (2001)", f"Other {number} (2002)"], "resp": "..."}  # fmt: skip


def rated(number: int, *scores: float) -> dict[str, Any]:
    """A prompt of UltraFeedback whose responses have these ratings, and overall the opposite."""
    aspects = ("helpfulness", "honesty")
    return {
        "source": "x", "instruction": f"Do {number}",
        "completions": [
            {"response": f"answer {number} {i}", "overall_score": 10 - s,
             "annotations": {a: {"Rating": str(s)} for a in aspects}}
            for i, s in enumerate(scores)
        ],
    }  # fmt: skip


def talk(*turns: str) -> list[dict[str, str]]:
    """Messages of the user and the assistant in turn."""
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": t}
            for i, t in enumerate(turns)]  # fmt: skip


def letor(query: int, grades: Sequence[int]) -> Iterator[str]:
    """Lines of a query, one for each document."""
    for i, grade in enumerate(grades):
        yield f"{grade} qid:{query} 1:{i / 8:.6f} 2:0.000000 3:1.000000 #docid = D{query}-{i} x = 1"


def raw(name: str) -> list[Any]:
    """Rows of the format that `from=name` reads; strings are lines."""
    some = range(6)
    rows: dict[str, list[Any]] = {
        "arc": [choice(i) for i in some],
        "commonsenseqa": [choice(i, options=5) for i in some],
        "hotpotqa": [hotpot(i) for i in some],
        "musique": [musique(i) for i in some] + [musique(9, answerable=False)],
        "inspired": [inspired(i) for i in some],
        "redial": [redial(i) for i in range(12)],
        "letor": [line for i in some for line in letor(i, [2, 0, 1, 0, 0])],
        "ultrafeedback": [rated(i, 1, 5, 3, 2.5) for i in some],
        "argilla": [{"instruction": f"Do {i}", "ratings": [1, 5, 3, 4.5],
                     "generations": [f"a {i} {k}" for k in range(4)]} for i in some],
        "hh": [{k: f"\n\nHuman: Q{i}\n\nAssistant: {k}" for k in ("chosen", "rejected")}
               for i in some],
        "shp": [{"post_id": f"p{i}", "history": f"Why {i}?", "human_ref_A": "a", "human_ref_B": "b",
                 "labels": i % 2, "score_A": 4, "score_B": 3, "score_ratio": 1 + i} for i in some],
        "trl": [{"prompt": f"Say {i}", "chosen": "yes", "rejected": "no"} for i in some],
        "llamafactory": [{"instruction": f"Do {i}", "input": "x", "chosen": "y", "rejected": "n"}
                         for i in some],
        "openai": [{"input": {"messages": talk(f"Do {i}")}, "preferred_output": talk("", "y")[1:],
                    "non_preferred_output": talk("", "n")[1:]} for i in some]
        + [{"info": {"id": f"t{i}", "title": f"T{i}", "post": f"p{i}", "subreddit": "r"},
            "summaries": [{"text": "long"}, {"text": "short"}], "choice": i % 2} for i in some],
    }  # fmt: skip
    return rows[name]
