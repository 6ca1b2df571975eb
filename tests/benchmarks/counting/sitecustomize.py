"""Counts what starts and what is compiled: Python imports this at its start in the environments of whole_runs.py.

A line of a file is `start` and the program, or `compiled` or `read` (from the cache), seconds and a name. It is
written at once, because not every process ends by itself.
"""

import importlib.abc
import importlib.util
import os
import sys
import threading

_FILE = os.environ.get("SCALECHECK_COUNTS")
_thread = threading.local()


def _write(*words):
    with open(_FILE, "a", encoding="utf-8") as file:
        file.write("\t".join(map(str, words)) + "\n")


def _heard(event, **_):
    # Within the time that JAX counts as one of compiling.
    if event == "/jax/compilation_cache/cache_hits":
        _thread.was_read = True


def _timed(event, seconds, fun_name="", **_):
    if event == "/jax/core/compile/backend_compile_duration":
        was_read, _thread.was_read = getattr(_thread, "was_read", False), False
        _write("read" if was_read else "compiled", f"{seconds:.6f}", fun_name)


class _Listening(importlib.abc.MetaPathFinder):
    """Registers with jax.monitoring when a program imports JAX, which not every program does."""

    def find_spec(self, name, path, target=None):
        if name != "jax._src.monitoring":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_register(module):
            execute(module)
            module.register_event_listener(_heard)
            module.register_event_duration_secs_listener(_timed)

        spec.loader.exec_module = execute_and_register
        return spec


if _FILE:
    _write("start", " ".join(sys.orig_argv[:3]))
    sys.meta_path.insert(0, _Listening())
