"""What the checks compare: moments of the fits, scores and predictions of the model, as arrays."""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck import density, model, records, sites, store
from scalecheck.checks.fluctuation import Scores
from scalecheck.checks.moments import Prior
from scalecheck.columns import Rows, make_rows
from scalecheck.plan import Slice
from scalecheck.records import StudyFolder
from scalecheck.results import FitResult
from scalecheck.study import ModelSettings

NDArray = np.ndarray

REPLICATES = 999
# More new rows than this are thinned at random before they are predicted, or memory would be S x rows.
MOST_PREDICTED = 20_000


class Evidence:
    """The model and the store of a study, asked for arrays; to be asked under `jax.enable_x64(True)`.

    Parameters
    ----------
    folder
        Of the study's results.
    settings
        The section `model`.
    outcome
        `data.outcome`.
    seed
        Of the study.
    """

    def __init__(
        self, folder: StudyFolder, settings: ModelSettings, outcome: str, seed: int
    ) -> None:
        self.folder = folder
        self.meta = store.read_meta(folder.data)
        self.model = model.bind(model.load(settings), settings, outcome, self.meta.labels)
        self.compare = settings.compare
        self.seed = seed

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same whatever else is run."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def columns(self, slices: Sequence[Slice], extra: Sequence[str] = ()) -> dict[str, NDArray]:
        """Read the model's columns of some rows, and others by name: `(rows,)` each."""
        unit = (self.meta.unit,) if self.meta.unit else ()
        wanted = dict.fromkeys([*self.model.columns, *unit, *extra])
        return store.read_rows(self.folder.data, slices, tuple(wanted))

    def rows(self, values: Mapping[str, NDArray]) -> Rows:
        """Arrange columns `(rows,)` as the model takes them."""
        return make_rows(
            self.model, values, self.meta.labels, precision="float64", unit=self.meta.unit
        )

    @functools.cached_property
    def sites(self) -> tuple[sites.Site, ...]:
        """Sites of the model."""
        return sites.describe(self.model, self.rows(self.columns([Slice("arrival", 0, 2)])))

    @functools.cached_property
    def observed(self) -> str:
        """Name of the observed site."""
        return sites.observed_site(self.model, self.sites).name

    @functools.cached_property
    def vector(self) -> density.Vector:
        """Layout of the compared parameters."""
        rows = self.rows(self.columns([Slice("arrival", 0, 2)]))
        compared = sites.compared_sites(self.model, self.sites, self.compare)
        return density.vector_of(self._function(rows), compared, rows.arrays)

    def _function(self, rows: Rows) -> Callable[..., Any]:
        return sites.function_of_arrays(self.model, rows.counts)

    def no_row_checks(self) -> str | None:
        """Say why scores and predictions by row cannot be had from this model, or None."""
        rows = self.rows(self.columns([Slice("arrival", 0, 2)]))
        if not density.has_row_likelihood(self._function(rows), self.observed, rows.arrays):
            return "the model gives its rows no log likelihood one by one"
        others = [
            s.name for s in self.sites if s.kind == "latent" and s.name not in self.vector.shapes
        ]
        if others:
            return (
                f"the model has latent sites that are not compared across fits ({', '.join(others)}),"
                " which this version cannot integrate out"
            )
        factors = [site.name for site in self.sites if site.kind == "factor"]
        if factors:
            return f"the model adds to its density by numpyro.factor ({', '.join(factors)})"
        return None

    def no_predictions(self) -> str | None:
        """Say why new rows cannot be compared with predictions of them, or None."""
        if self.model.arguments[self.model.outcome].matrix:
            return "the outcome has several columns, and this version ranks one number per row"
        return self.no_row_checks()

    def prior(self) -> Prior:
        """Prior moments of the compared parameters, as `check_study` found them."""
        prior = records.read_json(self.folder.model)["prior"]
        return Prior(np.array(prior["mean"]), np.array(prior["covariance"]))

    def scores(self, values: Mapping[str, NDArray], level: NDArray, theta: NDArray) -> Scores:
        """Score of each row and information of each level at `theta` `(d,)`, unconstrained.

        Parameters
        ----------
        values
            Columns of the rows.
        level
            `(rows,)` codes.
        """
        rows = self.rows(values)
        function, n_levels = self._function(rows), int(level.max()) + 1

        def by_row(theta: jax.Array, arrays: dict[str, jax.Array]) -> jax.Array:
            return density.row_log_likelihood(
                function, self.observed, self.vector.unpack(theta), arrays
            )

        def by_level(theta: jax.Array, arrays: dict[str, jax.Array]) -> jax.Array:
            return jax.ops.segment_sum(by_row(theta, arrays), jnp.asarray(level), n_levels)

        arrays = {name: jnp.asarray(v) for name, v in rows.arrays.items()}
        score = jax.jit(jax.jacfwd(by_row))(theta, arrays)
        hessian = jax.jit(jax.jacfwd(jax.jacrev(by_level)))(theta, arrays)
        units = values[self.meta.unit] if self.meta.unit else None
        return Scores(np.asarray(score), -np.asarray(hessian), level, units)

    def predictions(
        self, before: FitResult, values: Mapping[str, NDArray], rng: np.random.Generator
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Predict rows from a posterior.

        Parameters
        ----------
        before
            The fit whose draws predict.
        values
            Columns of the rows.

        Returns
        -------
        outcome, replicates, log_scores
            `(rows,)` observed; `(REPLICATES, rows)` predicted, each by another draw; `(1 +
            REPLICATES, rows)` log likelihood of both at the posterior mean.
        """
        rows = self.rows(values)
        function, outcome_name = self._function(rows), self.model.outcome
        flat = before.z.reshape(-1, before.z.shape[-1])
        chosen = rng.choice(len(flat), REPLICATES, replace=len(flat) < REPLICATES)
        keys = jax.random.split(jax.random.PRNGKey(int(rng.integers(2**31))), REPLICATES)
        arrays = {name: jnp.asarray(v) for name, v in rows.arrays.items()}

        @jax.jit
        def draw(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
            z = self.vector.unpack(inputs[0])
            constrained = density.constrain(function, z, arrays)
            return density.predict(
                function, self.observed, outcome_name, constrained, arrays, inputs[1]
            )

        @jax.jit
        def score(outcome: jax.Array) -> jax.Array:
            z = self.vector.unpack(jnp.asarray(flat.mean(axis=0)))
            given = {**arrays, outcome_name: outcome.astype(arrays[outcome_name].dtype)}
            return density.row_log_likelihood(function, self.observed, z, given)

        replicates = np.asarray(jax.lax.map(draw, (jnp.asarray(flat[chosen]), keys), batch_size=50))
        observed = np.asarray(arrays[outcome_name])
        both = jnp.concatenate([jnp.asarray(observed)[None], jnp.asarray(replicates)])
        return observed, replicates, np.asarray(jax.lax.map(score, both, batch_size=50))
