"""The families of checks: one module each, pure functions from arrays to findings.

`finding` is what all of them say, `moments` the linear algebra that two of them share. `agreement`
compares random subsets, `heterogeneity` the levels of an axis, `drift` nested increments,
`surprise` new rows with what was predicted for them (`design` lists the statistics, `battery`
measures them, `meanings` says what they mean); `effort`, `scaling` and `adaptation` what the chains
of fits took (`chains`, `cost`). NumPy, SciPy and pandas only, but for the battery, which measures
thousands of replicates in JAX: nothing here reads a file or knows a model.
"""
