"""Runs of Snakemake to their end, each a fork of one process that has imported it: that takes most of a dry run."""

import atexit
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

SERVER = """
import atexit, json, os, sys
import snakemake.cli

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    null = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(order[name], os.O_WRONLY | os.O_CREAT) for name in ("out", "err"))
    for opened, number in ((null, 0), (out, 1), (err, 2)):
        os.dup2(opened, number)
    sys.argv, code = order["argv"], 1
    try:
        snakemake.cli.main()
    except SystemExit as ended:
        code = ended.code
    finally:
        atexit._run_exitfuncs()  # of which the end of a fork would do none
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the process that forks, once, and end it with this one."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.communicate)  # which ends it: there is nothing more to read
    return server


def snakemake(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run the command line of a Snakemake run to its end, as `subprocess.run` would."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        order = {"argv": list(map(str, argv)), "env": dict(env), "cwd": str(cwd)}
        print(json.dumps(order | {"out": str(out), "err": str(err)}), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(list(argv), code, out.read_text(), err.read_text())
