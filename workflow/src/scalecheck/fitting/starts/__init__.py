"""Where chains start: candidates by the value of `sampler.start`, and why a density is not finite there."""
