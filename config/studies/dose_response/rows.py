"""Write the table of the study dose_response: simulated wells, 400,000 by default, of 3,000 compounds.

Eleven doses half a decade apart, each well's own off by a tenth of a decade; compounds have 60 to 200 wells. Run by
the workflow (data.made_by), or by hand for another size:

    python config/studies/dose_response/rows.py wells.parquet --rows 4000 --compounds 30
"""

import argparse

import numpy as np
import pandas as pd

SEED = 2019
# Population of compounds: mean and standard deviation of each parameter of a curve, as model.py names them.
TRUTH = {
    "log_ec50": (0.3, 0.6),
    "log_slope": (0.2, 0.35),
    "top": (1.0, 0.25),
    "bottom": (0.05, 0.15),
}
NOISE = 0.2
DOSES = np.linspace(-2.5, 2.5, 11)  # log10, half a decade apart


def curves(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Draw the parameters of n compounds from their population."""
    return {name: rng.normal(mean, sd, n) for name, (mean, sd) in TRUTH.items()}


def response(curve: dict[str, np.ndarray], log_dose: np.ndarray) -> np.ndarray:
    """Give the expected response of each row, its curve given by row."""
    rise = np.exp(curve["log_slope"]) * np.log(10) * (log_dose - curve["log_ec50"])
    return curve["bottom"] + (curve["top"] - curve["bottom"]) / (1 + np.exp(-rise))


def table(n_rows: int, n_compounds: int) -> pd.DataFrame:
    """Simulate wells; compounds have unequal numbers of them, all together n_rows."""
    rng = np.random.default_rng(SEED)
    curve = curves(rng, n_compounds)
    share = rng.uniform(60, 200, n_compounds)
    ends = np.round(np.cumsum(share) / share.sum() * n_rows).astype(int)
    of_row = np.repeat(np.arange(n_compounds), np.diff(ends, prepend=0))
    log_dose = np.round(rng.choice(DOSES, n_rows) + rng.normal(0, 0.1, n_rows), 3)
    expected = response({name: values[of_row] for name, values in curve.items()}, log_dose)
    measured = np.round(expected + rng.normal(0, NOISE, n_rows), 4)
    names = [f"compound-{number:04d}" for number in range(1, n_compounds + 1)]
    return pd.DataFrame(
        {"compound": np.array(names)[of_row], "log_dose": log_dose, "response": measured}
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--compounds", type=int, default=3_000)
    options = parser.parse_args()
    table(options.rows, options.compounds).to_parquet(options.file, index=False)
