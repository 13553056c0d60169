"""Is the hub there? Asked once and quickly, so that a missing file is not a minute's wait."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROBE_SECONDS = 5.0  # an unreachable hub otherwise takes 49 s to fail (huggingface_hub, 2026)


def reachable() -> bool:
    """Whether the hub answers within PROBE_SECONDS; False when HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def offline(wanted: bool) -> Iterator[None]:
    """Cache only, for as long as it lasts: the libraries read the variable once, at import."""
    if not wanted:
        yield
        return
    from huggingface_hub import constants

    places: list[Any] = [constants]
    if "datasets" in sys.modules:
        places.append(sys.modules["datasets"].config)
    before = [p.HF_HUB_OFFLINE for p in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value
