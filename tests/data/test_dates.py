from __future__ import annotations

import datetime as dt

import jinja2
import pytest

from bvrank.data.dates import date_string, parsed_date, pinned
from bvrank.errors import ConfigError

DAY = dt.date(2024, 7, 6)


@pytest.mark.parametrize(
    ("form", "told"),
    [("%Y-%m-%d", "2024-07-06"), ("%d %b %Y", "06 Jul 2024"), ("%B %-d, %Y", "July 6, 2024"),
     ("%A", "Saturday"), ("%H:%M", "00:00")],
)  # fmt: skip
def test_a_template_that_asks_for_today_gets_the_date(form: str, told: str) -> None:
    template = pinned("{{ strftime_now('" + form + "') }}", DAY)
    assert jinja2.Environment().from_string(template).render() == told


def test_other_templates_are_left_alone() -> None:
    assert pinned("{{ messages }}", DAY) == "{{ messages }}"
    assert date_string(DAY) == "06 Jul 2024" and parsed_date("2024-07-06") == DAY


def test_a_date_that_is_none_names_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed_date("6.7.2024")
    assert caught.value.where == "date"
