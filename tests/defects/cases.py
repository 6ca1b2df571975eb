"""One data set of the benchmark, and what methods can ask of its model: fits, replicates and densities.

`Case` is what a method is given. Its posterior of all rows and its replicates are made when the
first method asks for them, and shared by those that follow.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import studies
from benchmark_models import MODELS, Model, simulate
from jax.scipy.special import logsumexp
from numpyro import handlers
from numpyro.infer import Predictive
from numpyro.infer.util import log_likelihood

from scalecheck.data import store
from scalecheck.data.table import Column
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.fitting import sample_batch
from scalecheck.model.rows import make_rows
from scalecheck.simulation.data_sets import DataSet
from scalecheck.simulation.simulated_fits import Fitting, SimulatedFit, fit_members
from scalecheck.study.plan import PlannedFit, Slice
from scalecheck.study.settings import Study

NDArray = np.ndarray
Table = dict[str, NDArray]
# Random subsets of a study; n is the rows of each, as in the calibration.
N_SUBSETS = 8


class Answer(NamedTuple):
    """What a method says of a data set.

    Attributes
    ----------
    p
        Its p-value; None where it gives none.
    kind
        "misfit" or "heterogeneous", as it names what it found; empty: it names none.
    axis
        The axis that it names; empty: none.
    gradients
        Gradients of the log density that it took, of all chains, those of the shared posterior included.
    row_gradients
        The same, each counted as often as it had rows.
    note
        Why there is no p-value, or what it rests on.
    """

    p: float | None
    kind: str = ""
    axis: str = ""
    gradients: int = 0
    row_gradients: int = 0
    note: str = ""


class Posterior(NamedTuple):
    """Draws of a fit.

    Attributes
    ----------
    sites
        Latent sites `(chain, draw, ...)` on their supports.
    n_rows
        Rows that were fitted.
    gradients
        Of all chains, warmup included.
    usable
        Whether R-hat and ESS are as they should.
    """

    sites: dict[str, NDArray]
    n_rows: int
    gradients: int
    usable: bool

    def choose(self, count: int) -> dict[str, NDArray]:
        """Give so many draws `(count, ...)`, far apart in their chains."""
        flat = {n: x.reshape(-1, *x.shape[2:]) for n, x in self.sites.items()}
        total = len(next(iter(flat.values())))
        chosen = np.linspace(0, total - 1, count).round().astype(int)
        return {name: values[chosen] for name, values in flat.items()}


def spent(*fits: Posterior | None) -> dict[str, int]:
    """Give what some fits took, as the fields of an answer."""
    done = [one for one in fits if one is not None]
    return {
        "gradients": sum(one.gradients for one in done),
        "row_gradients": sum(one.gradients * one.n_rows for one in done),
    }


@dataclass(frozen=True)
class Case:
    """One data set.

    Attributes
    ----------
    name
        Of the model.
    defect, strength
        What is wrong with it; only oracles look.
    n
        Rows of a subset; the table has eight times as many.
    seed
        Of everything random about it.
    """

    name: str
    defect: str
    strength: int
    n: int
    seed: int

    @property
    def model(self) -> Model:
        return MODELS[self.name]

    @functools.cached_property
    def table(self) -> Table:
        """Columns `(rows,)`, in the order of arrival."""
        return simulate(self.name, self.defect, self.strength, self.seed, N_SUBSETS * self.n)

    @functools.cached_property
    def settings(self) -> Study:
        """Settings of a study of this table."""
        size = studies.FULL._replace(rows=self.n)
        return studies.settings_for(
            self.name, self.model.scenario, self.model.file, size, self.seed
        )

    @functools.cached_property
    def columns(self) -> dict[str, Column]:
        """The table as the library has it."""
        return studies.encode(self.table)

    @functools.cached_property
    def prepared(self) -> studies.Prepared:
        """The bound model and the moments of its prior."""
        return studies.prepare(self.settings, self.columns)

    @property
    def likelihood(self) -> Likelihood:
        return self.prepared.likelihood

    @functools.cached_property
    def posterior(self) -> Posterior | None:
        """Draws given all rows, which methods share; None where chains were stopped."""
        return self.fit([self.table], "all")[0]

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose."""
        return np.random.default_rng([self.seed, self.n, *purpose.encode()])

    def fit(self, tables: Sequence[Table], purpose: str) -> list[Posterior | None]:
        """Fit the model to tables, on the engine and with the settings of a study."""
        seed = int(self.rng(purpose).integers(2**31))
        data_sets = [DataSet((), (), _reader(one), seed) for one in tables]
        fitting = Fitting(self.settings.sampler, self.likelihood, data_sets, _silent)
        members = [
            SimulatedFit(number, _task(number, table), sample_batch.fit_key(seed, str(number)))
            for number, table in enumerate(tables)
        ]
        done = {one.owner: one for one in fit_members(fitting, members)}
        return [self._posterior(done[number], table) for number, table in enumerate(tables)]

    def _posterior(self, done: Any, table: Table) -> Posterior | None:
        if done.result is None:
            return None
        drawn = done.result.tree["posterior"]
        latent = [site.name for site in self.likelihood.sites if site.kind == "latent"]
        sites = {name: drawn[name].to_numpy() for name in latent}
        gradients = done.record.gradients.total
        return Posterior(sites, len(table["y"]), gradients, bool(done.result.health.usable))

    def replicate(self, draws: Mapping[str, NDArray], table: Table, purpose: str) -> Table:
        """Draw outcomes of the rows of a table, one for each draw: what is recorded of them, `(draw, rows)`.

        Sites that are not among the draws come from their conditional prior: units not seen before.
        """
        arrays, programs = self._asked(table)
        seed = int(self.rng(f"{purpose} replicates").integers(2**31))
        outcome = programs.predict(dict(draws), arrays, jax.random.PRNGKey(seed))
        return self.model.recorded(np.asarray(outcome, dtype=float), table)

    def log_likelihood(self, draws: Mapping[str, NDArray], table: Table) -> NDArray:
        """Log likelihood of each row at each draw, `(draw, rows)`."""
        arrays, programs = self._asked(table)
        return np.asarray(programs.log_likelihood(dict(draws), arrays), dtype=float)

    def log_score(self, draws: Mapping[str, NDArray], table: Table, outcomes: Table) -> NDArray:
        """Log predictive density of outcomes `(replicate, rows)`, summed over rows: `(replicate,)`.

        The density averages over the draws. What is not among the draws is drawn once for all outcomes.
        """
        arrays, programs = self._asked(table)
        own = {name: values.astype(arrays[name].dtype) for name, values in outcomes.items()}
        return np.asarray(programs.log_score(dict(draws), arrays, own), dtype=float)

    def log_prior(self, draws: Mapping[str, NDArray]) -> NDArray:
        """Log prior density of the compared sites at each draw, `(draw,)`."""
        arrays, programs = self._asked(self.table)
        return np.asarray(programs.log_prior(dict(draws), arrays), dtype=float)

    def _asked(self, table: Table) -> tuple[dict[str, Any], "_Programs"]:
        likelihood = self.likelihood
        rows = make_rows(likelihood.model, table, likelihood.labels, unit=likelihood.unit)
        programs = likelihood.program(
            ("defects", *sorted(rows.counts.items())), lambda: _programs(likelihood, rows.counts)
        )
        return rows.arrays, programs

    @property
    def compared(self) -> list[str]:
        """Names of the sites that fits share: no levels of units, groups or raters."""
        return [site.name for site in self.likelihood.compared]

    @property
    def of_units(self) -> set[str]:
        """Names of the sites that each unit has its own of: new rows are of new units."""
        unit = self.likelihood.unit
        return {s.name for s in self.likelihood.sites if unit and unit in s.indexed_by}


def _silent(line: str) -> None:
    """Let the lines of a fit go."""


def _task(number: int, table: Table) -> PlannedFit:
    n_rows = len(table["y"])
    rows = (Slice("arrival", 0, n_rows),)
    return PlannedFit(f"fit-{number}", "subset", "", "", n_rows, n_rows, slices=rows)


def _reader(table: Table) -> Any:
    """Read the columns of a table, of which one fit has all rows."""
    numbers = np.arange(len(table["y"]))
    columns = {**table, store.OBSERVATION: numbers, store.FILE_ROW: numbers + 1}
    return lambda slices, names: {name: columns[name] for name in names}


class _Programs(NamedTuple):
    """What is asked of a model, compiled by shape."""

    predict: Any
    log_likelihood: Any
    log_score: Any
    log_prior: Any


def _programs(likelihood: Likelihood, counts: Mapping[str, int]) -> _Programs:
    function, observed = likelihood.function(counts), likelihood.observed
    outcome = likelihood.model.outcome
    compared = [site.name for site in likelihood.compared]

    @jax.jit
    def predict(draws: Any, arrays: Any, key: Any) -> Any:
        unknown = {**arrays, outcome: None}
        return Predictive(function, draws, parallel=True)(key, **unknown)[observed]

    @jax.jit
    def by_row(draws: Any, arrays: Any) -> Any:
        return log_likelihood(function, draws, parallel=True, **arrays)[observed]

    @jax.jit
    def log_score(draws: Any, arrays: Any, outcomes: Any) -> Any:
        seeded = handlers.seed(function, jax.random.PRNGKey(0))

        def one(own: Any) -> Any:
            by_draw = log_likelihood(seeded, draws, parallel=True, **{**arrays, **own})[observed]
            return (logsumexp(by_draw, axis=0) - jnp.log(len(by_draw))).sum()

        return jax.lax.map(one, outcomes, batch_size=16)

    @jax.jit
    def log_prior(draws: Any, arrays: Any) -> Any:
        def one(draw: Any) -> Any:
            given = handlers.substitute(handlers.seed(function, jax.random.PRNGKey(0)), draw)
            trace = handlers.trace(given).get_trace(**arrays)
            return sum(trace[n]["fn"].log_prob(trace[n]["value"]).sum() for n in compared)

        return jax.vmap(one)(draws)

    return _Programs(predict, by_row, log_score, log_prior)
