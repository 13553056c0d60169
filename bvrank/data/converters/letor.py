"""LETOR 4.0 (arXiv 1306.2597), MSLR and other libsvm files with queries: graded documents.

    2 qid:10032 1:0.056537 2:0.000000 ... #docid = GX029-35-5894638 inc = 1 prob = 0.139842

These files hold neither the queries' words nor the documents': a candidate is the text of its
features, and a prompt can name no more than the query's number. Such lists test losses and metrics
on real graded judgments; a language model learns to read the features, not to search.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bvrank.data.converters import Draft
from bvrank.data.converters.base import Items, Listwise
from bvrank.data.converters.prompts import check_template, filled
from bvrank.data.lines import read_lines
from bvrank.data.refusals import NO_TRUTH, Unfit
from bvrank.errors import DataError
from bvrank.records import Refused

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE = re.compile(rf"^(-?\d+)\s+qid:(\S+)((?:\s+\d+:{_NUMBER})*)$")
_QUERY = re.compile(r"\s*-?\d+\s+qid:([^\s#]+)")
_DOCID = re.compile(r"docid\s*=\s*(\S+)")


@dataclass(frozen=True)
class LETOR(Listwise):
    """Lists of documents with the grades they were judged with.

    template: {query} is filled in. document: what a candidate looks like: {docid}, which is empty
    where a file has none, and {features}, each as `feature` with its {number} and {value}.
    features: numbers of the features that are shown (empty: all). zeros: show those that are 0.
    list_size: documents of a list (null: all): the relevant ones, and a draw of the others.
    """

    template: str = "Query {query}"
    list_size: int | None = None
    distractors: Literal["given"] = "given"
    document: str = "{docid} {features}"
    feature: str = "f{number}:{value}"
    features: tuple[int, ...] = field(default=())
    zeros: bool = False

    needed = ("{query}",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template("document", self.document, "{features}")
        check_template("feature", self.feature, "{value}")

    def read(self, path: str | Path) -> Iterator[tuple[str, Any]]:
        """Queries with their documents, each at the line where it begins, as soon as its last line
        is read: documents of one query need not stand together, but where they do no more than one
        query is held."""
        left = Counter(found[1] for _, line in read_lines(path) if (found := _QUERY.match(line)))
        unread: dict[str, tuple[str, list[tuple[int, str, str]]]] = {}
        for where, line in read_lines(path):
            if line.lstrip().startswith("#"):
                continue
            query, document = _document(where, line)
            unread.setdefault(query, (where, []))[1].append(document)
            left[query] -= 1
            if not left[query]:
                begun, documents = unread.pop(query)
                yield begun, {"query": query, "documents": documents}
        if unread:
            raise DataError("changed while it was read", where=str(path), repair="Read it again.")

    def convert(self, where: str, row: Mapping[str, Any]) -> list[Draft | Refused]:
        """The draft of one query. Documents that look the same are one, graded as the best is."""
        try:
            gains: dict[str, float] = {}
            for grade, features, docid in row["documents"]:
                if grade < 0:
                    raise Unfit(
                        "relevance_range", f"a document of {row['query']} is graded {grade}"
                    )
                item = self._document(docid, features.split())
                gains[item] = max(gains.get(item, 0.0), float(grade))
            if not any(gains.values()):
                raise Unfit(NO_TRUTH, f"no document of query {row['query']} is relevant")
            return [self._draft(where, row["query"], gains)]
        except Unfit as error:
            return [error.refused(where)]

    def _draft(self, where: str, query: str, gains: Mapping[str, float]) -> Draft:
        prompt = filled(self.template, query=query)
        return Draft(where, (f"group|{query}",), Items(prompt, tuple(gains.items()), (), "", query))

    def _document(self, docid: str, pairs: Sequence[str]) -> str:
        shown = []
        for pair in pairs:
            number, _, value = pair.partition(":")
            if (self.zeros or float(value)) and (not self.features or int(number) in self.features):
                shown.append(filled(self.feature, number=number, value=_short(value)))
        features = " ".join(shown)
        return filled(self.document, docid=docid, features=features).strip() or "-"


def _document(where: str, line: str) -> tuple[str, tuple[int, str, str]]:
    """The query of a line, and its document: grade, features and name."""
    body, _, comment = line.partition("#")
    found = _LINE.match(body.strip())
    if not found:
        raise DataError(
            "is no libsvm row with a query", where=where,
            repair="A row is: grade qid:QUERY 1:VALUE 2:VALUE ... #comment",
        )  # fmt: skip
    docid = _DOCID.search(comment)
    return found[2], (int(found[1]), found[3], docid[1] if docid else "")


def _short(value: str) -> str:
    """A number without zeros that say nothing: 0.056537 as it is, 1.000000 as 1."""
    return value.rstrip("0").rstrip(".") if "." in value and "e" not in value.lower() else value
