"""Text of strangers made readable: nothing in it steers a terminal or turns a line around."""

from __future__ import annotations

import re

# The C0 controls but tab and newline, DEL and the C1 controls; then what overrides the direction
# of writing, the marks that older readers take for line ends, and halves of a surrogate pair.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def readable(text: str) -> str:
    """`text` with control characters shown by name (`\\x1b`, `\\u202e`); lines and tabs stay."""
    return _UNSEEN.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """`readable`, all white space as single blanks."""
    return " ".join(readable(text.replace("\r", " ")).split())


def cut(text: str, most: int) -> str:
    """At most about `most` characters: the middle of a longer text is told as its length."""
    if len(text) <= most:
        return text
    end = most // 3
    begin = most - end
    return f"{text[:begin]} […{len(text) - most:,} characters…] {text[len(text) - end :]}"
