"""TemplateSchedule: the contract of schedules, and its shape."""

import pytest

from tocsin.plugins.testing import check_schedule
from tocsin_template.schedule import TemplateSchedule


def test_it_conforms() -> None:
    check_schedule(TemplateSchedule)
    check_schedule(TemplateSchedule, hold=0.0)


def test_the_rate_stays_then_falls_to_nothing() -> None:
    schedule = TemplateSchedule(hold=0.5)
    factors = [schedule.factor(step, 4) for step in range(5)]
    assert factors == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0])
