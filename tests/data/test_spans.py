from __future__ import annotations

from bvrank.data.encoding import Listing, encode
from bvrank.data.spans import pieces, spans
from bvrank.data.templates import Template
from bvrank.models.tiny import tiny_tokenizer
from bvrank.records import BARE, FULL, Candidate, Example, Message

T = Template(tiny_tokenizer())
PAIR = Example(
    "a:1",
    (Message("user", "q"),),
    (
        Candidate("4", "t", FULL, "thinking", 1.0),
        Candidate("5", "t", FULL, "thinking"),
        Candidate("4", None, BARE, "nothinking", 1.0),
        Candidate("5", None, BARE, "nothinking"),
    ),
)


def told(ids: tuple[int, ...]) -> str:
    return "".join(p.text for p in pieces(ids, T))


def test_a_view_shows_its_own_paths() -> None:
    row = encode([PAIR], T, views=(FULL, BARE), max_length=999)[0][0]
    full, bare = spans(row, FULL), spans(row, BARE)
    assert [len(s.branches) for s in full] == [0, 1, 1]
    assert [len(s.branches) for s in bare] == [0, 0, 1, 1]
    assert full[0] == bare[0] and told(bare[1].ids).startswith("<think>\u21b5\n")
    assert told(full[1].ids) == "<think>\u21b5\nt\u21b5\n</think>\u21b5\n\u21b5\n4<|im_end|>"


def test_a_chain_shows_its_separators_between_the_items() -> None:
    items = Example("l:1", PAIR.prompt, (Candidate("aa"), Candidate("bb")), (2, 1))
    row = encode([items], T, views=(FULL,), max_length=999, listing=Listing("inlist"))[0][0]
    assert [told(s.ids) for s in spans(row, FULL)[1:]] == ["bb", ", ", "aa"]
    assert [len(s.branches) for s in spans(row, FULL)] == [0, 1, 0, 1]


def test_pieces_are_whole_characters_and_know_special_tokens() -> None:
    ids = tuple(T.ids(["a🙂é<|im_end|>"])[0])
    found = list(pieces(ids, T))
    assert [(p.text, p.special, p.tokens) for p in found] == [
        ("a", False, 1), ("🙂", False, 4), ("é", False, 2), ("<|im_end|>", True, 1),
    ]  # fmt: skip
    assert sum(p.tokens for p in found) == len(ids)


def test_half_a_character_and_control_codes_are_written_out() -> None:
    ids = tuple(T.ids(["🙂"])[0])[:2]
    assert len(list(pieces(ids, T))) == 2
    assert told(tuple(T.ids(["\x1b[2J\r"])[0])) == "\\x1b[2J\\r"
