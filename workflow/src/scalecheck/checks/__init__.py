"""The families of checks: one module each, pure functions from arrays to findings.

`finding` is what all of them say, `moments` the linear algebra that two of them share. `agreement`
compares random subsets, `heterogeneity` the levels of an axis, `drift` nested increments,
`surprise` new rows with what was predicted for them. NumPy, SciPy and pandas only: nothing here
reads a file or knows a model.
"""
