"""What the checks of one data set ask: its rows, its prior, its random numbers, and the likelihood."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scalecheck.checks.moments import Prior
from scalecheck.data import store
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.model import binding
from scalecheck.study.plan import Slice
from scalecheck.study.settings import ModelSettings

Read = Callable[[Sequence[Slice], Sequence[str]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class StudyData:
    """One data set and the model; to be asked under `jax.enable_x64(True)`.

    Attributes
    ----------
    likelihood
        The compiled model, which data sets of one study share.
    read
        `(slices, columns) -> {column: (rows,)}`.
    prior
        Prior moments of the compared parameters, as `check_study` found them.
    seed
        Of the study.
    """

    likelihood: Likelihood
    read: Read
    prior: Prior
    seed: int

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, the same whatever else is run."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def columns(self, slices: Sequence[Slice], extra: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Read the model's columns of some rows, the units', and others by name: `(rows,)` each."""
        unit = (self.likelihood.unit,) if self.likelihood.unit else ()
        return self.read(
            slices, tuple(dict.fromkeys([*self.likelihood.model.columns, *unit, *extra]))
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names `(d,)` of the compared parameters."""
        return self.likelihood.vector.names


def open_likelihood(folder: StudyFolder, settings: ModelSettings, outcome: str) -> Likelihood:
    """Load and bind the model of a study that was prepared."""
    meta = store.read_meta(folder.data)
    bound = binding.bind(binding.load_model(settings), settings, outcome, meta.labels)
    unit = (meta.unit,) if meta.unit else ()
    wanted = tuple(dict.fromkeys([*bound.columns, *unit]))
    few = store.read_rows(folder.data, [Slice("arrival", 0, min(2, meta.n_rows))], wanted)
    return Likelihood(bound, meta.labels, meta.unit, settings.compare, few)


def open_study_data(
    folder: StudyFolder, settings: ModelSettings, outcome: str, seed: int
) -> StudyData:
    """Open the data of a study that was prepared, and its model.

    Parameters
    ----------
    folder
        Of the study's results, with data.nc and model.json.
    settings
        The section `model`.
    outcome
        `data.outcome`.
    seed
        Of the study.
    """

    def read(slices: Sequence[Slice], columns: Sequence[str]) -> dict[str, np.ndarray]:
        return store.read_rows(folder.data, slices, tuple(columns))

    return StudyData(open_likelihood(folder, settings, outcome), read, read_prior(folder), seed)


def read_prior(folder: StudyFolder) -> Prior:
    """Read the prior moments of the compared parameters."""
    prior = formats.read_json(folder.model)["prior"]
    n_parameters = len(prior["mean"])
    covariance = np.array(prior["covariance"], dtype=float).reshape(n_parameters, n_parameters)
    return Prior(np.array(prior["mean"], dtype=float), covariance)
