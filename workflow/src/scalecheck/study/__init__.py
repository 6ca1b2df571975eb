"""The study file: its settings and schema, which rows belong to which fit, and what a queue is asked for."""
