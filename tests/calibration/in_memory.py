"""Studies of tables in memory: their plan, and the moments of their prior."""

from collections.abc import Mapping, Sequence

import numpy as np

from scalecheck.checks.moments import Prior
from scalecheck.data import store
from scalecheck.data.levels import cut_axis
from scalecheck.data.orders import OrderedTable, order_table, plan_orders
from scalecheck.data.table import Column, Table
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.study_data import Read
from scalecheck.model import density
from scalecheck.simulation.data_sets import DataSet
from scalecheck.study import plan
from scalecheck.study.plan import Slice
from scalecheck.study.settings import Study


def from_table(
    settings: Study, columns: Mapping[str, Column], seed: int, kinds: tuple[str, ...]
) -> DataSet:
    """Plan a table; the seed determines its random orders and its draws."""
    n_rows = len(next(iter(columns.values())).values)
    table = Table("the simulated table", columns, np.arange(1, n_rows + 1), {})
    axes = {name: cut_axis(table, name, settings.subsets.levels) for name in settings.data.axes}
    arranged = {part.order: part for part in order_table(table, settings.data, axes, seed)}
    ends = {order: part.unit_ends for order, part in arranged.items()}
    levels = {name: arranged[f"axis/{name}"].levels or {} for name in axes}
    planned = plan.make_plan(
        *plan_orders(n_rows, ends, levels, table.file), settings.subsets, settings.increments
    )
    return DataSet(tuple(planned), kinds, _reader(columns, arranged), seed)


def _reader(columns: Mapping[str, Column], arranged: Mapping[str, OrderedTable]) -> Read:
    """Read columns of a table in memory as `store.read_rows` reads them."""

    def read(slices: Sequence[Slice], names: Sequence[str]) -> dict[str, np.ndarray]:
        rows = np.concatenate([arranged[s.order].rows[s.start : s.stop] for s in slices])
        known = {store.OBSERVATION: rows, store.FILE_ROW: rows + 1}
        return {
            name: known[name] if name in known else np.asarray(columns[name].values)[rows]
            for name in names
        }

    return read


def prior_of(likelihood: Likelihood, seed: int) -> Prior:
    """Moments of the prior of the compared parameters, by simulation."""
    rows = likelihood.rows(likelihood.few)
    latent = [site.name for site in likelihood.sites if site.kind == "latent"]
    function = likelihood.function(rows.counts)
    moments = density.prior_moments(function, latent, likelihood.vector, rows.arrays, seed)
    return Prior(*moments)
