"""Nested Laplace: the latent sites of units integrated out one unit at a time, what is left approximated."""
