"""The lane sampler has the moments and quantiles of reference posteriors.

posteriordb (Magnusson et al., arXiv:2407.04967) publishes models, data and 10,000 all but independent draws
of their posteriors, of which the folder holds means, standard deviations and two quantiles. It lies beside
the checkout, or where POSTERIORDB says.
"""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import regressions
import structured
from numpyro import handlers
from numpyro.infer import init_to_uniform
from scipy import stats

from scalecheck.diagnostics import array_stats
from scalecheck.model import density
from scalecheck.sampler import Settings, sample_lanes

CHECKOUT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("POSTERIORDB", CHECKOUT.parent / "shared/data/posteriordb"))

AXES = {"chain_axis": 0, "draw_axis": 1}
ALPHA = 1e-3  # of a false alarm, by posterior
FEWEST = 400  # effective draws, without which agreement says little


class Posterior(NamedTuple):
    """A model, what posteriordb calls its posterior, and how it is sampled.

    Chains start at `centre`, or zero, plus something uniform within `radius`, unconstrained.
    """

    model: Callable[..., None]
    name: str
    dense: tuple[str, ...] = ()
    chains: int = 16
    draws: int = 400
    warmup: int = 300
    centre: dict[str, Any] = {}
    radius: float = 2.0
    # Scalars without a fourth moment: the error of their mean of squares cannot be estimated.
    heavy: tuple[str, ...] = ()


# Not eight_schools_centered: no step size reaches the neck of its funnel, in any sampler of this kind.
POSTERIORS = [
    Posterior(regressions.kidscore_momhsiq, "kidiq-kidscore_momhsiq", ("beta",)),
    Posterior(regressions.kidscore_interaction, "kidiq-kidscore_interaction", ("beta",)),
    Posterior(regressions.logearn_interaction_z, "earnings-logearn_interaction_z"),
    Posterior(regressions.logmesquite_logvas, "mesquite-logmesquite_logvas", ("beta",)),
    Posterior(regressions.nes, "nes2000-nes", ("beta",), chains=8),
    Posterior(regressions.blr, "sblrc-blr", ("beta",)),
    Posterior(regressions.blr, "sblri-blr", ("beta",)),
    Posterior(regressions.kilpisjarvi, "kilpisjarvi_mod-kilpisjarvi", warmup=600, draws=500),
    Posterior(regressions.diamonds, "diamonds-diamonds", ("b",), chains=4, draws=250),
    Posterior(structured.eight_schools_noncentered, "eight_schools-eight_schools_noncentered"),
    Posterior(structured.ar5, "arK-arK", ("beta",)),
    # Far from zero the errors of a moving average grow without bound, and chains stay there.
    Posterior(structured.arma11, "arma-arma11", ("mu", "phi"), radius=0.5),
    Posterior(structured.garch11, "garch-garch11"),
    Posterior(structured.hmm_example, "hmm_example-hmm_example", chains=8),
    Posterior(
        structured.low_dim_gauss_mix, "low_dim_gauss_mix-low_dim_gauss_mix", chains=8, draws=200
    ),
    Posterior(structured.gp_regr, "gp_pois_regr-gp_regr"),
    Posterior(structured.gp_pois_regr, "gp_pois_regr-gp_pois_regr", chains=8, draws=200),
    Posterior(
        structured.lotka_volterra,
        "hudson_lynx_hare-lotka_volterra",
        chains=8,
        # Cycles of ten years about 34 hares and 20 lynxes: from elsewhere chains may keep to other cycles.
        centre={
            "theta": np.log([0.63, 0.63 / 20, 0.63, 0.63 / 34]),
            "z_init": np.log([30, 4]),
            "sigma": -1.0,
        },
        radius=0.1,
    ),
    Posterior(
        structured.one_comp_mm_elim_abs,
        "one_comp_mm_elim_abs-one_comp_mm_elim_abs",
        chains=8,
        draws=1500,
        radius=1.0,
        heavy=("K_m", "V_m"),
    ),
]


# Compiling takes most of the time: these run with all tests, and all of them by `make test-references`.
FEW = ("arma-arma11", "eight_schools-eight_schools_noncentered")
PARAMETERS = [
    pytest.param(one, id=one.name, marks=() if one.name in FEW else pytest.mark.long)
    for one in POSTERIORS
]


def read(path):
    return json.loads(path.read_text())


def arrays_of(posterior, reference):
    """The data that the model asks for, with a leading dimension of one fit."""
    data = read(FOLDER / reference["data"])
    names = inspect.signature(posterior.model).parameters
    return {name: np.asarray(data[name], "float64")[None] for name in names}


def unconstrained(posterior, arrays):
    """One point of the unconstrained space, by site."""

    def point():
        started = handlers.substitute(
            handlers.seed(posterior.model, 0), substitute_fn=init_to_uniform()
        )
        trace = handlers.trace(started).get_trace(**arrays)
        latent = {
            name: site["value"]
            for name, site in trace.items()
            if site["type"] == "sample" and not site["is_observed"]
        }
        return density.unconstrain(posterior.model, latent, arrays)

    return jax.eval_shape(point)


def starts_of(posterior, arrays):
    rng = np.random.default_rng(20260219)
    shapes = unconstrained(posterior, {name: values[0] for name, values in arrays.items()})
    return {
        name: posterior.centre.get(name, 0.0)
        + rng.uniform(-posterior.radius, posterior.radius, (1, posterior.chains, *shape.shape))
        for name, shape in shapes.items()
    }


def draw(posterior, arrays):
    """Scalars by posteriordb's names, each `(chain, draw)`."""
    found = sample_lanes(
        density.potential(posterior.model),
        arrays,
        starts_of(posterior, arrays),
        Settings(posterior.warmup, 0.8, 10, (posterior.dense,) * bool(posterior.dense)),
        key=jax.random.split(jax.random.PRNGKey(20260219), 1),
        draws=posterior.draws,
    )
    own = {name: values[0] for name, values in arrays.items()}

    def constrain(z):
        return density.constrain(posterior.model, z, own, deterministic=True)

    sites = jax.jit(jax.vmap(jax.vmap(constrain)))(found.z[0])
    scalars = {}
    for site, values in sites.items():
        for index in np.ndindex(values.shape[2:]):
            label = f"{site}[{','.join(str(i + 1) for i in index)}]" if index else site
            scalars[label] = np.asarray(values[:, :, *index])
    return scalars


def comparisons(values, reference, n_reference, *, heavy):
    """What is compared of a scalar `(chain, draw)`: by name its z-score, of both Monte Carlo errors."""
    away = values - reference["mean"]
    estimates = {
        "q05": (values < reference["q05"], 0.05, np.sqrt(0.05 * 0.95)),
        "q95": (values < reference["q95"], 0.95, np.sqrt(0.05 * 0.95)),
    }
    if not heavy:
        # The reference tells no fourth moment: its error of the second one is that of as many draws of ours.
        estimates["mean"] = (away, 0.0, reference["sd"])
        estimates["square"] = (away**2, reference["sd"] ** 2, (away**2).std())
    return {
        name: float((ours.mean() - theirs) / np.hypot(mcse(ours), sd / np.sqrt(n_reference)))
        for name, (ours, theirs, sd) in estimates.items()
    }


def mcse(values):
    return array_stats.mcse(values.astype(float), method="mean", **AXES)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no reference posteriors beside the checkout")
@pytest.mark.parametrize("posterior", PARAMETERS)
def test_moments_and_quantiles_are_those_of_the_reference(posterior):
    reference = read(FOLDER / f"{posterior.name}.reference.json")
    with jax.enable_x64(True):
        scalars = draw(posterior, arrays_of(posterior, reference))
    scores = {}
    for label, theirs in reference["summary"].items():
        assert array_stats.rhat(scalars[label], **AXES) < 1.02, label
        assert array_stats.ess(scalars[label], method="bulk", **AXES) > FEWEST, label
        compared = comparisons(
            scalars[label], theirs, reference["draws"], heavy=label in posterior.heavy
        )
        scores |= {(label, name): z for name, z in compared.items()}
    bound = stats.norm.isf(ALPHA / 2 / len(scores))
    assert {key: z for key, z in scores.items() if not abs(z) < bound} == {}
