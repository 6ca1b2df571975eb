"""What the fits of a study took together."""

import pytest

from scalecheck.results.totals import Spent, spent


def record(status="done", **changes):
    took = {"gradients": {"warmup": [3, 4], "sampling": [5, 6]}, "seconds": {"warmup": 0.1}}
    return {"fit": "subset-01", "status": status} | took | changes


def test_audits_and_the_confirmation_are_counted_and_what_was_skipped_is_not():
    skipped = {"fit": "increment-03", "status": "skipped"}
    stopped = record("stopped", audit=None)
    audited = record(audit=record(seconds={"sampling": 2.0}))
    found = spent([record(), stopped, audited, skipped], record(seconds={"sampling": 1.0}))
    assert found == Spent(5 * 18, pytest.approx(3.3))


@pytest.mark.parametrize("again", [None, {"fit": None, "reason": "no subset stands out"}])
def test_without_a_confirmation_there_are_the_fits(again):
    assert spent([record()], again) == Spent(18, 0.1)


def test_the_order_of_fits_changes_no_bit():
    parts = [record(seconds={"sampling": one}) for one in (1e16, 1.0, -1e16, 0.1)]
    assert spent(parts, None) == spent(parts[::-1], None) == Spent(72, 1.1)
