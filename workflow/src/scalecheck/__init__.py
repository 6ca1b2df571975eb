"""scalecheck: will this Bayesian model survive all of the data, before the full fit is paid for?"""
