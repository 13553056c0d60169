"""Examples to token trees: one function for every objective.

    Pair (each view's prompt ends differently)        List, context "inlist"

    shared prompt ┬ rest of full ┬ {chosen END}       prompt ─ {item} ─ sep ─ {item} ─ sep ─ {item}
                  │              └ {rejected END}
                  └ rest of bare ┬ {chosen END}       `{...}` is scored. Ids are concatenated, never
                                 └ {rejected END}     re-tokenised across a border.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import batched, islice
from typing import Literal

import numpy as np

from bvrank.data.refusals import UNUSED, Unfit
from bvrank.data.templates import Template
from bvrank.errors import DataError
from bvrank.records import Branch, Candidate, Encoded, Example, Mode, Refused, Segment

Overlong = Literal["drop", "error", "truncate_trace_middle"]
Ids = tuple[int, ...]
AT_ONCE = 256  # examples per tokenizer call
