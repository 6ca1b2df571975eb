"""Options and fixtures that all tests share."""

import os

# Before anything imports jax: tests state facts about the CPU, whatever the machine has.
os.environ.setdefault("SCALECHECK_PLATFORM", "cpu")
