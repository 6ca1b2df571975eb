"""All orders of a table at once: which row stands where, and where whole units end."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from scalecheck.orders import Axis, random_order
from scalecheck.plan import Levels, Order

NDArray = np.ndarray


class Arrangement(NamedTuple):
    """A table in every order in which fits read it.

    Attributes
    ----------
    rows
        By order (`arrival`, `random`, `axis/<name>`): numbers of the table's rows.
    unit_ends
        By order: `(units,)` rows up to the end of each unit; None where rows are exchangeable.
    axes
        By axis: labels, rows and units of its levels, which follow one another in its order.
    """

    rows: dict[str, NDArray]
    unit_ends: dict[str, NDArray | None]
    axes: dict[str, dict[str, list[Any]]]


def arrange(
    n_rows: int, units: NDArray | None, axes: Mapping[str, Axis], arrival: NDArray, seed: int
) -> Arrangement:
    """Put a table into all its orders.

    Parameters
    ----------
    units
        `(rows,)` codes of exchangeable units, if any.
    axes
        How each axis is cut.
    arrival
        `(rows,)` the order of arrival.
    seed
        Determines the random orders.
    """
    rows = {
        "arrival": arrival,
        "random": random_order(units, n_rows, np.random.default_rng([seed, 2])),
    }
    ends = {name: _unit_ends(units, order) for name, order in rows.items()}
    levels: dict[str, dict[str, list[Any]]] = {}
    for number, (name, axis) in enumerate(axes.items()):
        rng = np.random.default_rng([seed, 3, number])
        parts = [_level_rows(axis, level, units, rng) for level in range(len(axis.labels))]
        part_ends = [end for part in parts if (end := _unit_ends(units, part)) is not None]
        rows[f"axis/{name}"] = np.concatenate(parts)
        ends[f"axis/{name}"] = np.concatenate(part_ends) if part_ends else None
        levels[name] = {
            "labels": list(axis.labels),
            "rows": [len(part) for part in parts],
            "units": [len(end) for end in part_ends],
        }
    return Arrangement(rows, ends, levels)


def _level_rows(axis: Axis, level: int, units: NDArray | None, rng: np.random.Generator) -> NDArray:
    rows = np.flatnonzero(axis.level == level)
    return rows[random_order(None if units is None else units[rows], len(rows), rng)]


def _unit_ends(units: NDArray | None, rows: NDArray) -> NDArray | None:
    if units is None:
        return None
    changes = np.flatnonzero(np.diff(units[rows]))
    return np.append(changes + 1, len(rows))


def plan_orders(
    n_rows: int,
    unit_ends: Mapping[str, NDArray | None],
    axes: Mapping[str, Mapping[str, list[Any]]],
    file: str,
) -> tuple[Order, Order, dict[str, Levels]]:
    """Give what the plan needs: the orders by arrival and at random, and the levels of each axis.

    Parameters
    ----------
    unit_ends
        By order, `(units,)` or None, as in `Arrangement`.
    axes
        As in `Arrangement`.
    file
        The table, for messages.
    """
    levels: dict[str, Levels] = {}
    for name, axis in axes.items():
        ends = unit_ends[f"axis/{name}"]
        cuts = np.cumsum(axis["units"])[:-1]
        parts = np.split(ends, cuts) if ends is not None else [None] * len(axis["rows"])
        orders = [Order(rows, part, file) for rows, part in zip(axis["rows"], parts, strict=True)]
        levels[name] = Levels(axis["labels"], orders)
    arrival, random = (Order(n_rows, unit_ends[name], file) for name in ("arrival", "random"))
    return arrival, random, levels
