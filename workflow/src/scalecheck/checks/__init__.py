"""The families of checks: one module each, pure functions from arrays to findings.

`finding` is what all of them say, `moments` the linear algebra that several share. `agreement` compares random
subsets, `heterogeneity` the levels of an axis by their scores (`scores`, `standardised_scores`, `score_statistics`,
`score_test`), `form` whether covariates lack a term, `drift` nested increments
(`nested_step`), `surprise` new rows with what was predicted for them (`statistic_design` lists the statistics,
`replicate_statistics` measures them, `member_ranks` compares them, `statistic_messages` says what they mean), step by
step and over all steps (`summed_surprise`); `effort`, `scaling` and `adaptation` what the chains of fits took
(`chain_table`, `gradient_cost`). NumPy, SciPy and pandas only, but
`replicate_statistics`, which ranks thousands of replicates in JAX: nothing here reads a file or knows a model.

Formulas, their sources and how often each check is wrong: docs/statistics.md, one section a family.
"""
