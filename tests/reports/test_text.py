import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from bvrank.reports.text import cut, one_line, readable

ANY = st.text(st.characters(codec=None), max_size=40)


@given(ANY)
def test_nothing_steers_a_terminal_or_turns_a_line(text):
    shown = readable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert not {unicodedata.bidirectional(c) for c in shown} & {"RLO", "LRO", "RLE", "LRE", "RLI"}
    shown.encode()


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), max_size=40))
def test_plain_text_stays(text):
    assert readable(text) == text


def test_controls_are_told_by_name():
    assert readable("\x1b[31mred\x07\u202e\ud800\r\n\t") == "\\x1b[31mred\\x07\\u202e\\ud800\\r\n\t"
    assert readable("naïve 東京 👩‍🚀") == "naïve 東京 👩‍🚀"


@given(ANY)
def test_one_line(text):
    told = one_line(text)
    assert len(told.splitlines()) <= 1 and "  " not in told and told == told.strip()


@given(st.text(max_size=400), st.integers(3, 200))
def test_cut_keeps_both_ends_and_tells_how_much_it_left_out(text, most):
    told = cut(text, most)
    if len(text) <= most:
        assert told == text
    else:
        assert told.startswith(text[: most - most // 3])
        assert told.endswith(text[len(text) - most // 3 :])
        assert f"[…{len(text) - most:,} characters…]" in told
