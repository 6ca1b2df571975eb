"""Effective draws of what units share: sampled with the units, and with the units integrated out.

    .venv/bin/python tests/benchmarks/marginalised.py dose_response
    .venv/bin/python tests/benchmarks/marginalised.py logistic_groups --rows 2000 8000 --ways apart

The first units of a table of config/studies/, which `make report STUDY=...` makes, as one increment with the settings
of its study. `together` is NUTS over all parameters, `apart` is `sampler.marginalise: units`. Programs are compiled by
a short fit before the one that is measured. Each fit adds a line to tests/benchmarks/results/marginalised.csv. Seconds
are of the processor; those of warmup include the mode of what units share, those of sampling the draws of the units.
"""

import argparse
import dataclasses
import datetime
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "marginalised.csv"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from scalecheck import diagnostics  # noqa: E402
from scalecheck.fitting import fit_record, sample_batch  # noqa: E402
from scalecheck.model import batches, binding  # noqa: E402
from scalecheck.model.batches import Batch  # noqa: E402
from scalecheck.study.plan import PlannedFit, Slice  # noqa: E402
from scalecheck.study.read_study import read_study  # noqa: E402
from scalecheck.study.settings import SamplerSettings, Study  # noqa: E402

WAYS: dict[str, Any] = {"together": None, "apart": "units"}


def read_rows(study: Study, n_rows: int) -> Batch:
    """Read the first units of a study's table, whole, until they have about so many rows."""
    unit, outcome = str(study.data.unit), study.data.outcome
    table = pd.read_parquet(ROOT / study.data.file)
    codes = pd.factorize(table[unit], sort=True)[0]
    ends = np.cumsum(np.bincount(codes))
    n_units = int(np.searchsorted(ends, n_rows)) + 1
    table = table[codes < n_units].sort_values(unit, kind="stable")
    values = {name: column.to_numpy() for name, column in table.items() if name != unit}
    values[unit] = np.sort(codes[codes < n_units])
    labels = {name: None for name in values} | {unit: [f"{n:06d}" for n in range(n_units)]}
    bound = binding.bind(binding.load_model(study.model), study.model, outcome, labels, frozenset())
    task = PlannedFit(
        f"{len(table)} rows", "increment", "", "", len(table), 0, (Slice("random", 0, len(table)),)
    )
    (batch,) = batches.make_batches(
        bound, [task], [values], labels, unit, study.model.compare, study.sampler.precision
    )
    return batch


def measure(batch: Batch, settings: SamplerSettings, seed: int) -> dict[str, Any]:
    """Fit, and say what came of it."""
    few = dataclasses.replace(settings, warmup=10, draws=10, on_stall="ignore")
    sample_batch.fit_batch(batch, few, seed, lambda line: None)
    found = sample_batch.fit_batch(batch, settings, seed, lambda line: print(line, flush=True))
    rhat, ess = diagnostics.rhat_and_ess(fit_record.packed(found, 0))
    n_steps = np.asarray(found.draws.iterations[0].n_steps, float)
    sampling = n_steps[:, settings.warmup :]
    seconds = found.draws.cpu_seconds
    whole = seconds.warmup + seconds.sampling
    audit = found.draws.audits[0] if found.draws.audits else None
    return {
        "rows": batch.tasks[0].rows,
        "warmup": settings.warmup,
        "draws": sampling.shape[1],
        "leapfrogs": round(sampling.mean(), 1),
        "ess_min": round(ess.min()),
        "rhat_max": round(float(rhat.max()), 4),
        "ess_per_1000_gradients": float(f"{1000 * ess.min() / sampling.sum():.3g}"),
        "ms_per_gradient": float(f"{1000 * seconds.sampling / sampling.sum():.3g}"),
        "ess_per_second": float(f"{ess.min() / seconds.sampling:.3g}"),
        "with_warmup": float(f"{ess.min() / whole:.3g}"),
        "cpu_seconds": round(whole),
        "audited_shift": round(audit.shift, 3) if audit else "",
        "audited_effective": round(audit.effective, 3) if audit else "",
    }


def main() -> None:
    """Sample in both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 8000, 32000])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--warmup", type=int)
    parser.add_argument("--draws", type=int)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    study = read_study(ROOT / "config" / "studies" / given.study / "study.yaml")
    for n_rows in given.rows:
        batch = read_rows(study, n_rows)
        for way in given.ways:
            settings = dataclasses.replace(
                study.sampler,
                marginalise=WAYS[way],
                warmup=given.warmup or study.sampler.warmup,
                draws=given.draws or study.sampler.draws,
            )
            line = {
                "date": datetime.date.today().isoformat(),
                "study": given.study,
                "way": way,
                **measure(batch, settings, given.seed),
            }
            print(pd.Series(line).to_string(), flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            pd.DataFrame([line]).to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)


if __name__ == "__main__":
    main()
