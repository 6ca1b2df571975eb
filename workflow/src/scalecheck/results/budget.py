"""What the budget says: whether the next increment fits into it, and the forecast of the full fit in words."""

from collections.abc import Sequence
from typing import Any

from scalecheck.files.record import FitRecord
from scalecheck.results.forecast import Forecast, forecast
from scalecheck.results.increment_costs import FEWEST, taken
from scalecheck.runtime.durations import interval
from scalecheck.study.settings import BudgetSettings


def fit_of(
    recorded: Sequence[FitRecord], n_rows: int, budget: BudgetSettings, *, cold: bool = True
) -> Forecast | None:
    """Forecast a fit of so many rows from the increments so far; None where too few can be used.

    Parameters
    ----------
    recorded
        Records of increments, in growing order.
    n_rows
        Of the fit to forecast: all of the data, or those of the next increment.
    cold
        Whether it starts cold, as the full fit does, or as the last increment did.
    """
    known = taken(recorded, n_rows, cold=cold)
    return forecast(*known, n_rows, budget.price_per_hour) if known else None


def exceeded(found: Forecast, budget: BudgetSettings) -> bool | None:
    """Whether a fit is forecast to take more than the budget, by the median; None without a budget."""
    return None if budget.seconds is None else found.seconds[1] > budget.seconds


def refusal(
    recorded: Sequence[FitRecord], rows: int, budget: BudgetSettings, *, audited: bool = False
) -> str:
    """Why the next increment is not fitted; empty where it fits into the budget.

    What the increments took so far and the median of what the next one is forecast to take are held
    against `budget.seconds`; after one that diverged and was fitted again, a second fit of the next one, too. Before
    there are two to forecast from, what they took has to exceed it alone.

    Parameters
    ----------
    recorded
        Records of the increments so far.
    rows
        Of the next one.
    audited
        Whether the next one is to be fitted cold as well.
    """
    if budget.seconds is None:
        return ""
    spent = sum(_seconds(one) for one in recorded)
    found = fit_of(recorded, rows, budget, cold=False)
    again = fit_of(recorded, rows, budget) if audited else None
    second = found.seconds[1] * _second_over_first(recorded[-1]) if found else 0.0
    if spent + second + sum(one.seconds[1] for one in (found, again) if one) <= budget.seconds:
        return ""
    reason = f"budget.seconds is {budget.seconds:g}: the increments so far took {spent:.1f} s"
    if found is None:
        return reason
    low, median, high = found.seconds
    beside = f", and {again.seconds[1]:.1f} s again, cold, to be compared" if again else ""
    if second:
        beside += f", and {second:.1f} s again, with smaller steps, as the one before diverged"
    return (
        f"{reason}, and one of {rows} rows is forecast to take {median:.1f} s"
        f" (90 % interval {low:.1f} to {high:.1f}){beside}"
    )


def _seconds(record: FitRecord) -> float:
    """Of a fit, and of its audit and its second fit with smaller steps, if it has them."""
    parts = [one for one in (record, record.audit, record.refit) if one]
    return sum(seconds for one in parts for seconds in one.seconds.values())


def _second_over_first(record: FitRecord) -> float:
    """Seconds of a second fit with smaller steps over those of the first; 0 where there is none."""
    if record.refit is None:
        return 0.0
    return sum(record.refit.seconds.values()) / sum(record.seconds.values())


def in_words(found: Forecast | None, budget: BudgetSettings) -> str:
    """Say what the full fit would cost, in one line for a log."""
    if found is None:
        return f"full fit: no forecast, which needs {FEWEST} increments that can be used"
    low, median, high = (f"{part:.2g}" for part in found.gradients)
    price = ""
    if found.price is not None:
        cheap, usual, dear = (f"{part:.2f}" for part in found.price)
        price = f", price {usual} ({cheap} to {dear}) at {budget.price_per_hour:g} an hour"
    over = f", over budget.seconds {budget.seconds:g}" if exceeded(found, budget) else ""
    return (
        f"full fit of {found.rows:,} rows: about {interval(found.seconds)},"
        f" {median} gradients ({low} to {high}){price}{over}"
    )


def as_json(found: Forecast | None, budget: BudgetSettings) -> dict[str, Any] | None:
    """Give the value of `forecast` in verdict.json."""
    if found is None:
        return None
    parts = {name: part and list(part) for name, part in found._asdict().items() if name != "rows"}
    return {"rows": found.rows, **parts, "over_budget": exceeded(found, budget)}
