"""The same fits as a study made, the plain way: a loop of fresh `numpyro.infer.MCMC` objects.

    .venv/bin/python tests/benchmarks/naive.py results/golf --out naive.json

Reads which rows each fit of the golf study had, fits each with MCMC(NUTS(model)) as NumPyro's
documentation shows it (chains vectorised, the fastest way on one processor), and writes the CPU
seconds that each took, compilation included, imports not.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS, init_to_sample

from scalecheck.data import store
from scalecheck.data.planned_fits import read_planned
from scalecheck.files import formats, record
from scalecheck.files.layout import StudyFolder
from scalecheck.model import binding
from scalecheck.study import settings


def main() -> None:
    """Fit every fit that was done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    folder = StudyFolder(options.folder)
    seconds: dict[str, float] = {}
    for number, task in enumerate(read_planned(folder, "arrival")):
        found = record.read(folder.record(task.fit))
        if found.status != "done":
            continue
        study = settings.freeze(settings.Study, found.settings)
        user_model = binding.load_model(study.model)
        columns = store.read_rows(folder.data, task.slices, ["distance_ft", "holed"])
        distance, holed = (
            jnp.asarray(columns[c].astype(np.float32)) for c in ("distance_ft", "holed")
        )
        sampler = study.sampler
        began = time.process_time()
        mcmc = MCMC(
            NUTS(user_model, init_strategy=init_to_sample()),
            num_warmup=sampler.warmup,
            num_samples=sampler.draws,
            num_chains=sampler.chains,
            chain_method="vectorized",
            progress_bar=False,
        )
        mcmc.run(jax.random.PRNGKey(number), distance, holed)
        jax.block_until_ready(mcmc.get_samples())
        seconds[task.fit] = time.process_time() - began
    formats.write_json(options.out, seconds)


if __name__ == "__main__":
    main()
