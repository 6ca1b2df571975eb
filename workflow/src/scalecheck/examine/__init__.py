"""Run the families of checks over the fits of a study, and look at each increment as it ends.

Nothing is imported here: whoever only chooses the subset to confirm should not pay for JAX.
"""
