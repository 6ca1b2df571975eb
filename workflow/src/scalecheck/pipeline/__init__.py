"""What the programs do: one module for each program of `scripts/`, and what only they use."""
