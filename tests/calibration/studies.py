"""Run simulated studies through the library, a batch at a time, and give a line of the table for each."""

import functools
import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from in_memory import from_table, prior_of
from scenarios import SCENARIOS, Scenario, simulate

import scalecheck
from scalecheck.checks import effort, verdict
from scalecheck.checks.moments import Prior
from scalecheck.checks.verdict import FAMILIES, Judged
from scalecheck.data import store
from scalecheck.data.table import Column
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.examine.run_costs import effort_of
from scalecheck.model import binding
from scalecheck.simulation import simulated_checks
from scalecheck.simulation.simulated_checks import Outcome
from scalecheck.study import read_study
from scalecheck.study.settings import Study

MODELS = Path(__file__).parent / "models.py"
KINDS = ("subset", "increment")
STATUSES = ("strong", "suspect", "pass", "not run")
COLUMNS = (
    "scenario",
    "kind",
    "seed",
    "n",
    "k",
    *(f"{family}_{what}" for family in FAMILIES for what in ("status", "p", "p_adjusted")),
    "verdict",
    "verdict_01",
    "misfit",
    "heterogeneous",
    "family",
    "axis",
    "beside_family",
    "beside_axis",
    "smallest_p_adjusted",
    "effort_doubled_p",
    "unusable",
    "cpu_seconds",
    "code",
)
Line = dict[str, Any]


@functools.cache
def code() -> str:
    """Short hash of what a line depends on: lines of other code are not to be mixed with new ones."""
    here = Path(__file__).parent
    library = sorted(Path(scalecheck.__file__).parent.rglob("*.py"))
    own = [here / name for name in ("in_memory.py", "models.py", "scenarios.py", "studies.py")]
    parts = [path.read_bytes() for path in [*library, *own] if "report" not in path.parts]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


class Size(NamedTuple):
    """How many studies are simulated, and how large they are.

    Attributes
    ----------
    nulls, structures, defects
        Studies of each scenario.
    batch
        Studies that are run together.
    warmup, draws
        Per chain.
    rows
        Of a subset; None for the scenario's own.
    factor
        By which increments grow.
    """

    nulls: int
    structures: int
    defects: int
    batch: int
    warmup: int
    draws: int
    rows: int | None = None
    factor: int = 2

    def of(self, name: str) -> int:
        """Give the studies of a scenario."""
        by_kind = {"null": self.nulls, "structure": self.structures}
        return by_kind.get(SCENARIOS[name].kind, self.defects)


# Warmup and draws as few as fits stay usable with: they go on where they are not.
FULL = Size(nulls=100, structures=100, defects=50, batch=25, warmup=300, draws=250)


class Prepared(NamedTuple):
    """A model, compiled as it is used; scenarios of one model share it."""

    likelihood: Likelihood
    prior: Prior


def settings_of(name: str, size: Size, seed: int) -> Study:
    """Give the settings of a simulated study."""
    return settings_for(name, SCENARIOS[name], MODELS, size, seed)


def settings_for(name: str, scenario: Scenario, models: Path, size: Size, seed: int) -> Study:
    """Give the settings of a study of any scenario, whose model is a function of this file."""
    n = size.rows or scenario.n_rows
    labels = [axis for axis in scenario.axes if axis not in scenario.covariates]
    return read_study.build(
        {
            "study": name,
            "seed": seed,
            # Tables are in memory: the file only has to exist.
            "data": {
                "file": str(models),
                "outcome": "y",
                "axes": list(scenario.axes),
                "categories": labels,
            }
            | ({"unit": scenario.unit} if scenario.unit else {}),
            "model": {
                "file": str(models),
                "function": scenario.model,
                "arguments": {"x": scenario.covariates} if scenario.covariates else {},
            },
            "subsets": {"count": scenario.n_subsets, "size": n, "levels": 40},
            # The last, of four of eight subsets where they grow twofold, is sampled cold as well.
            "increments": {
                "start": n,
                "factor": size.factor,
                "end": scenario.n_subsets * n,
                "stop": "never",
                "warm": True,
                "cold_audit": math.ceil(math.log(scenario.n_subsets, size.factor)),
            },
            "sampler": {
                "engine": "lanes",
                "chains": 4,
                "warmup": size.warmup,
                "draws": scenario.draws or size.draws,
            },
        },
        str(models),
    )


def columns_of(name: str, seed: int, n_rows: int) -> dict[str, Column]:
    """Simulate a table as the library encodes one: codes sorted as text."""
    return encode(simulate(name, seed, n_rows))


def encode(table: Mapping[str, np.ndarray]) -> dict[str, Column]:
    """Give columns `(rows,)` as the library has them; integers are codes of labels."""
    return {
        column: _encode_labels(values) if values.dtype.kind == "i" else Column(values, None)
        for column, values in table.items()
    }


def _encode_labels(codes: np.ndarray) -> Column:
    width = len(str(codes.max()))
    # Every code has a label, whether it occurs or not: studies of a batch share them.
    labels = tuple(f"{code:0{width}d}" for code in range(int(codes.max()) + 1))
    return Column(codes.astype("int32"), labels)


def run_batch(name: str, seeds: Sequence[int], size: Size) -> list[Line]:
    """Simulate, fit, check and judge these studies together."""
    began = time.process_time()
    settings = settings_of(name, size, seeds[0])
    n_rows = settings.subsets.count * settings.subsets.size
    tables = [columns_of(name, seed, n_rows) for seed in seeds]
    prepared = prepare(settings, tables[0])
    # The second number keeps what the library draws apart from what the table was drawn with.
    simulated = [
        from_table(settings, table, 1_000_003 + seed, KINDS)
        for table, seed in zip(tables, seeds, strict=True)
    ]
    # Axes whose levels hold every row, and the largest increment: fits of the same rows.
    outcomes = simulated_checks.run_studies(
        settings, prepared.likelihood, prepared.prior, simulated, lambda line: None, share=True
    )
    seconds = (time.process_time() - began) / len(seeds)
    head = {
        "n": settings.subsets.size,
        "k": settings.subsets.count,
        "cpu_seconds": f"{seconds:.2f}",
        "code": code(),
    }
    return [
        head | line_of(name, SCENARIOS[name], seed, outcome)
        for seed, outcome in zip(seeds, outcomes, strict=True)
    ]


_prepared: dict[tuple[Any, ...], Prepared] = {}


def prepare(settings: Study, table: Mapping[str, Column]) -> Prepared:
    """Bind a model, once in a process."""
    labels = {name: column.labels for name, column in table.items()}
    model = (settings.model.file, settings.model.function)
    key = (*model, *labels.items(), _common(settings, table))
    if key not in _prepared:
        likelihood = bound(settings, table)
        _prepared[key] = Prepared(likelihood, prior_of(likelihood, 1))
    return _prepared[key]


def bound(settings: Study, table: Mapping[str, Column]) -> Likelihood:
    """Bind the model of a study to the columns of a table."""
    labels = {name: column.labels for name, column in table.items()}
    few = {name: column.values[:2] for name, column in table.items()}
    own = binding.bind(
        binding.load_model(settings.model),
        settings.model,
        settings.data.outcome,
        labels,
        _common(settings, table),
    )
    return Likelihood(own, labels, settings.data.unit, settings.model.compare, few)


def _common(settings: Study, table: Mapping[str, Column]) -> frozenset[str]:
    """Columns whose every level is common, as the store finds them."""
    n_rows = len(next(iter(table.values())).values)
    rare = {n: store.rarest(c.values, len(c.labels)) for n, c in table.items() if c.labels}
    return store.common_columns(rare, n_rows, settings.data.unit)


def line_of(name: str, scenario: Scenario, seed: int, outcome: Outcome) -> Line:
    """Judge a study at 5 % and at 1 %."""
    findings = verdict.add_families_not_run(outcome.found.findings)
    judged, stricter = (verdict.judge(findings, alpha) for alpha in (0.05, 0.01))
    attribution = verdict.attribute(judged, outcome.unusable, time="arrival")
    adjusted = [one.p_adjusted for one in judged if one.p_adjusted is not None]
    families = [_family(family, judged) for family in FAMILIES]
    return {
        "scenario": name,
        "kind": scenario.kind if scenario.is_null else "defect",
        "seed": seed,
        **functools.reduce(lambda one, other: one | other, families),
        "verdict": verdict.decide(judged, outcome.unusable)[0],
        "verdict_01": verdict.decide(stricter, outcome.unusable)[0],
        "misfit": attribution.misfit,
        "heterogeneous": attribution.heterogeneous,
        "family": attribution.family or "",
        "axis": attribution.axis or "",
        "beside_family": attribution.beside.family if attribution.beside else "",
        "beside_axis": (attribution.beside.axis if attribution.beside else None) or "",
        "smallest_p_adjusted": _short(min(adjusted, default=1.0)),
        "effort_doubled_p": _short(_effort_doubled(outcome, seed)) if scenario.unit else "",
        "unusable": " ".join(outcome.unusable),
    }


def _family(family: str, judged: Sequence[Judged]) -> Line:
    """Worst status, p within the family, and smallest adjusted p; empty where it was not run."""
    own = [one for one in judged if one.finding.family == family]
    run = [one for one in own if one.finding.p is not None]
    status = min((one.status for one in own), key=STATUSES.index)
    p = min((min(1.0, (one.finding.p or 0.0) / one.finding.weight) for one in run), default=None)
    adjusted = min((one.p_adjusted for one in run if one.p_adjusted is not None), default=None)
    parts = zip(("status", "p", "p_adjusted"), (status, _short(p), _short(adjusted)), strict=True)
    return {f"{family}_{what}": value for what, value in parts}


def _effort_doubled(outcome: Outcome, seed: int) -> float | None:
    """P of effort when the recorded leapfrogs of one subset are doubled: no table does just that.

    One of those that are compared: what cannot be used is left out, however many it takes.
    """
    subsets = [fit for fit in outcome.fits.done.values() if fit.task.kind == "subset"]
    seen = effort_of(subsets)
    usable = np.flatnonzero(seen.usable)
    if len(usable) < effort.FEWEST:
        return None
    leapfrogs = np.array(seen.leapfrogs, dtype=float)
    leapfrogs[usable[seed % len(usable)]] *= 2
    return effort.check_effort(seen._replace(leapfrogs=leapfrogs), {})[0].p


def _short(p: float | None) -> str:
    return "" if p is None else f"{p:.4g}"


def changed(size: Size, given: Mapping[str, Any]) -> Size:
    """Give sizes with those in place that were asked for."""
    asked = {name: given[name] for name in Size._fields if given.get(name) is not None}
    return size._replace(**asked)
