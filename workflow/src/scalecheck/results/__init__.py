"""The fits of a study as they ended: what they took, and what the full fit would take."""
