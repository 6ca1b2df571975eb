"""Fit one batch: starts, memory, sampling, checkpoints and the record of each fit."""
