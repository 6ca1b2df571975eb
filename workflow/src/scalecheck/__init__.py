"""scalecheck: will this Bayesian model survive all of the data, before the full fit is paid for?"""

# What a fit computes; raised when the same settings give other draws, so that old fits are redone. Here, because the
# rules have it among their parameters, and Snakemake is not to import JAX.
ENGINE_VERSION = 4
