"""Is a fit that diverges biased, and does a second fit with smaller steps say so?

    .venv/bin/python tests/benchmarks/divergences.py

Data of eight groups with known errors, of which the scale among groups is little known: a centred model is
a funnel. Its fits are compared with second fits at several acceptance rates, and with long fits of the
non-centred model. Prints a row for each acceptance rate: what is said of fits that are biased by more than
0.25 posterior sds, and of others.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from recorded import recorded  # noqa: E402

from scalecheck import diagnostics, sampler  # noqa: E402
from scalecheck.checks import divergences  # noqa: E402
from scalecheck.files.record import RecordedGradients, RecordedRefit  # noqa: E402
from scalecheck.sampler import Draws, Settings  # noqa: E402

N_GROUPS, WARMUP, DRAWS = 8, 500, 500
NAMES = ["mu", "log tau", *(f"effect[{i}]" for i in range(N_GROUPS))]
TARGETS = (0.95, 0.98, 0.99)


def prior(z):
    tau = jnp.exp(z["log_tau"])
    return -0.5 * (z["mu"] ** 2 + tau**2) + z["log_tau"]


def centred(y, error):
    def potential(z):
        effect = (z["effect"] - z["mu"]) / jnp.exp(z["log_tau"])
        likelihood = -0.5 * jnp.sum(((y - z["effect"]) / error) ** 2)
        return 0.5 * jnp.sum(effect**2) + N_GROUPS * z["log_tau"] - prior(z) - likelihood

    return potential


def non_centred(y, error):
    def potential(z):
        effect = z["mu"] + jnp.exp(z["log_tau"]) * z["effect"]
        likelihood = -0.5 * jnp.sum(((y - effect) / error) ** 2)
        return 0.5 * jnp.sum(z["effect"] ** 2) - prior(z) - likelihood

    return potential


def packed(z, effect):
    return np.concatenate([z["mu"][..., None], z["log_tau"][..., None], effect], axis=-1)


def of_centred(z):
    return packed(z, z["effect"])


def of_non_centred(z):
    scaled = np.exp(z["log_tau"])[..., None] * z["effect"]
    return packed(z, z["mu"][..., None] + scaled)


def fit(
    potential, arrays, target, seed, draws=DRAWS, most_draws=diagnostics.MOST_TIMES * DRAWS
) -> Draws:
    n_fits, rng = len(arrays["y"]), np.random.default_rng(seed)
    shapes = {"mu": (), "log_tau": (), "effect": (N_GROUPS,)}
    starts = {
        name: rng.uniform(-1, 1, (n_fits, 4, *shape)).astype("float32")
        for name, shape in shapes.items()
    }
    return sampler.sample_lanes(
        potential,
        arrays,
        starts,
        Settings(WARMUP, target, 10, ()),
        key=np.asarray(jax.random.split(jax.random.PRNGKey(seed), n_fits)),
        draws=draws,
        most_draws=most_draws,
        enough=lambda number, z: not diagnostics.gains_by_draws(of_centred(z)),
    )


class Seen(NamedTuple):
    """What a fit and a second one of the same data say, and what is true."""

    share: float
    target: float
    leapfrogs: float
    bias: str | None
    is_biased: bool


def diverging(draws, number):
    return draws.iterations[number].diverging[:, WARMUP:]


def look(first, second, truth, target, number) -> Seen | None:
    """Compare; None where the first fit cannot be used."""
    one = of_centred(first.z[number])
    if not diagnostics.usable(one):
        return None
    mean, sd = divergences.largest_moves(one, of_centred(second.z[number]), NAMES)
    counts = [diverging(draws, number).sum(axis=1).tolist() for draws in (first, second)]
    again = of_centred(second.z[number])
    lost = diagnostics.rhat_and_ess(again)[0].max() > diagnostics.FAR_RHAT
    refit = RecordedRefit(
        target_accept=target,
        divergences=counts[1],
        draws=again.shape[1],
        usable=diagnostics.usable(again),
        mean=None if lost else mean,
        sd=None if lost else sd,
        gradients=RecordedGradients(),
        seconds={},
        cpu_seconds={},
    )
    record = dataclasses.replace(recorded(divergences=counts[0], draws=one.shape[1]), refit=refit)
    true = divergences.largest_moves(one, of_non_centred(truth.z[number]), NAMES)
    spent = [draws.iterations[number].n_steps.sum() for draws in (first, second)]
    return Seen(
        record.divergent_share,
        target,
        float(spent[1] / spent[0]),
        divergences.bias_of(record),
        any(abs(one.gap) > divergences.LARGEST_MOVE and one.p < divergences.CLEAR for one in true),
    )


def simulate(n_fits, error, seed):
    rng = np.random.default_rng(seed)
    tau = np.abs(rng.standard_normal(n_fits))[:, None]
    effect = rng.standard_normal((n_fits, 1)) + tau * rng.standard_normal((n_fits, N_GROUPS))
    y = effect + error * rng.standard_normal((n_fits, N_GROUPS))
    return {"y": y.astype("float32"), "error": np.full(y.shape, error, "float32")}


def main(n_fits: int) -> None:
    seen: list[Seen] = []
    for seed, error in ((11, 2.0), (12, 1.0)):
        arrays = simulate(n_fits, error, seed)
        first = fit(centred, arrays, 0.8, 1)
        truth = fit(non_centred, arrays, 0.98, 9, draws=4000, most_draws=4000)
        for number_of_target, target in enumerate(TARGETS):
            second = fit(centred, arrays, target, 2 + number_of_target)
            found = (look(first, second, truth, target, number) for number in range(n_fits))
            seen += [one for one in found if one]
    few = [one for one in seen if one.target == TARGETS[0] and one.share < divergences.LEAST_SHARE]
    print(
        f"usable, below {divergences.LEAST_SHARE}: {sum(one.is_biased for one in few)} of {len(few)} biased"
    )
    print("| target | leapfrogs | biased | yes | unknown | no | others | yes | unknown | no |")
    for target in TARGETS:
        often = [
            one for one in seen if one.target == target and one.share >= divergences.LEAST_SHARE
        ]
        cells = [f"{target:g}", f"{np.median([one.leapfrogs for one in often]):.1f}"]
        for is_biased in (True, False):
            said = [one.bias for one in often if one.is_biased == is_biased]
            cells += [len(said), *(said.count(word) for word in ("yes", "unknown", "no"))]
        print("|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=64, help="data sets of each of two kinds")
    main(parser.parse_args().fits)
