"""Dose and response: a four-parameter logistic curve for each compound, the compounds from one population."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

# Population of compounds: means and standard deviations a priori. log_ec50 in log10 of the dose, log_slope the log
# of the Hill slope, bottom and top in units of the response of a positive control.
PRIOR = {
    "log_ec50": (0.0, 1.0, 1.0),
    "log_slope": (0.0, 0.5, 0.5),
    "top": (1.0, 0.5, 0.5),
    "bottom": (0.0, 0.5, 0.5),
}


def model(log_dose, compound, n_compound, response=None):
    """Response at each dose; with some hundred rows a compound the data outweigh the population: centred."""
    of_compound = {name: _population(name, *prior) for name, prior in PRIOR.items()}
    noise = numpyro.sample("noise", dist.HalfNormal(0.5))
    with numpyro.plate("compounds", n_compound):
        curve = {name: numpyro.sample(name, normal) for name, normal in of_compound.items()}
    ec50, slope = curve["log_ec50"][compound], jnp.exp(curve["log_slope"])[compound]
    bottom, top = curve["bottom"][compound], curve["top"][compound]
    share = jax.nn.sigmoid(slope * jnp.log(10.0) * (log_dose - ec50))
    with numpyro.plate("wells", log_dose.shape[0]):
        numpyro.sample(
            "measured", dist.Normal(bottom + (top - bottom) * share, noise), obs=response
        )


def _population(name, center, spread, most):
    mean = numpyro.sample(f"mean_{name}", dist.Normal(center, spread))
    sd = numpyro.sample(f"sd_{name}", dist.HalfNormal(most))
    return dist.Normal(mean, sd)
