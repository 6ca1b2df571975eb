"""What the fits of a study took together."""

import pytest
from recorded import recorded

from scalecheck.results.totals import TotalCost, spent


def record(status="done", **changes):
    took = {"gradients": {"warmup": [3, 4], "sampling": [5, 6]}, "seconds": {"warmup": 0.1}}
    return recorded(status=status, **took | changes)


def test_audits_and_the_confirmation_are_counted_and_what_was_skipped_is_not():
    skipped = recorded("increment-03", status="skipped")
    stopped = record("stopped", audit=None)
    again = {"gradients": {"warmup": [7], "sampling": [11]}, "seconds": {"sampling": 2.0}}
    audited = record(audit={"p": 0.5, **again, "cpu_seconds": {}, "draws": 1})
    found = spent([record(), stopped, audited, skipped], record(seconds={"sampling": 1.0}))
    assert found == TotalCost(5 * 18, pytest.approx(3.3))


def test_a_second_fit_with_smaller_steps_is_counted():
    again = {"gradients": {"warmup": [7], "sampling": [11]}, "seconds": {"sampling": 2.0}}
    told = {"target_accept": 0.95, "divergences": [0], "draws": 1, "usable": True}
    refit = {**told, "mean": None, "sd": None, "cpu_seconds": {}, **again}
    assert spent([record(refit=refit)], None) == TotalCost(2 * 18, pytest.approx(2.1))


def test_without_a_confirmation_there_are_the_fits():
    assert spent([record()], None) == TotalCost(18, 0.1)


def test_the_order_of_fits_changes_no_bit():
    parts = [record(seconds={"sampling": one}) for one in (1e16, 1.0, -1e16, 0.1)]
    assert spent(parts, None) == spent(parts[::-1], None) == TotalCost(72, 1.1)
