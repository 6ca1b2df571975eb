"""What checking one study costs, apart from its fits, imports and compilation.

    .venv/bin/python tests/benchmarks/check_cost.py

A logistic regression with ten parameters on 16,000 rows: 8 subsets of 500 rows, two axes of 8 levels
each, 6 increments from 500 to 16,000 rows. The study is fitted in this process, and checked three
times, in processor seconds: only the first time compiles.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

ROWS = 16_000
MODEL = """
import numpyro
import numpyro.distributions as dist


def model(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(0, 2.5).expand([10]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=beta[0] + x @ beta[1:]), obs=y)
"""


def write_study(folder: Path) -> Path:
    """Write data, model and study file."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, 9))
    logits = -0.4 + x @ rng.normal(0, 0.3, 9)
    table = pd.DataFrame(x, columns=[f"x{i}" for i in range(1, 10)])
    table["y"] = (rng.random(ROWS) < 1 / (1 + np.exp(-logits))).astype(int)
    table["place"] = rng.choice(list("abcdefgh"), ROWS)
    table.to_csv(folder / "data.csv", index=False)
    (folder / "model.py").write_text(MODEL)
    names = ", ".join(f"x{i}" for i in range(1, 10))
    (folder / "study.yaml").write_text(
        f"study: cost\nseed: 1\nresults: {folder / 'results'}\n"
        "data: {file: data.csv, outcome: y, axes: [place, x1]}\n"
        f"model: {{file: model.py, arguments: {{x: [{names}]}}}}\n"
        "subsets: {count: 8, size: 500, levels: 8}\n"
        f"increments: {{start: 500, factor: 2, end: {ROWS}, stop: never}}\n"
    )
    return folder / "study.yaml"


def main() -> None:
    """Fit once, check three times."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))
    from whole_study import run_study

    from scalecheck.evaluation.study_data import open_study_data
    from scalecheck.examine.run_families import examine
    from scalecheck.files.layout import StudyFolder
    from scalecheck.results.study_fits import read_study_fits
    from scalecheck.study import read_study as read_study_module

    with tempfile.TemporaryDirectory(prefix="scalecheck-") as name:
        study = read_study_module.select({"study_file": str(write_study(Path(name)))}, [])["cost"]
        folder = StudyFolder(Path(name) / "results" / "cost")
        verdict = run_study(study, folder.path)
        print("verdict:", verdict["verdict"], verdict["reason"])
        evidence = open_study_data(folder, study.model, study.data.outcome, study.seed)
        for run in ("compiled and run", "run", "run"):
            began = time.process_time()
            fits = read_study_fits(folder, study.increments.order)
            reading = time.process_time() - began
            examine(evidence, fits, study.data, study.increments, lambda line: None)
            checking = time.process_time() - began - reading
            print(f"{run}: {reading:.1f} s to read, {checking:.1f} s to check", flush=True)


if __name__ == "__main__":
    main()
