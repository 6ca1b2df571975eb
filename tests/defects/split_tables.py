"""Tables cut in two for split predictive checks."""

import numpy as np
from cases import Case, Posterior, Table
from discrepancies import N_REPLICATES, tails

NDArray = np.ndarray


def folds(case: Case, count: int, purpose: str) -> list[Table]:
    """Cut a table into so many parts at random; whole units where rows come in units."""
    rng = case.rng(purpose)
    unit = case.model.scenario.unit
    codes = case.table[unit] if unit else np.arange(len(case.table["y"]))
    order = rng.permutation(codes.max() + 1)
    parts = np.array_split(order, count)
    return [_take(case.table, np.flatnonzero(np.isin(codes, part))) for part in parts]


def halves(case: Case, table: Table) -> tuple[Table, Table]:
    """Cut a part, whose rows are in order, after half of its units or rows."""
    unit = case.model.scenario.unit
    codes = table[unit] if unit else np.arange(len(table["y"]))
    seen = np.unique(codes)
    first = np.isin(codes, seen[: len(seen) // 2])
    return _take(table, np.flatnonzero(first)), _take(table, np.flatnonzero(~first))


def _take(table: Table, rows: NDArray) -> Table:
    return {name: values[rows] for name, values in table.items()}


def held_out_tails(case: Case, posterior: Posterior, held_out: Table, purpose: str) -> NDArray:
    """Give the upper tails of rows among replicates of them, which units not seen before have."""
    draws = posterior.choose(N_REPLICATES)
    known = {name: values for name, values in draws.items() if name not in case.of_units}
    return tails(case, known, held_out, purpose, held_out=True)
