"""Debian's Slurm as a cluster of one node on the loopback, with GPUs that are only counted.

    sudo python tests/slurm/cluster.py

starts it, prints how to speak to it, and ends it at Ctrl-C. Everything it writes lies in one folder, and it
listens on ports that were free: nothing of a Slurm that is already on the machine is touched.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PROGRAMS = (
    "setpriv",
    "munged",
    "slurmctld",
    "slurmd",
    "sbatch",
    "srun",
    "squeue",
    "scancel",
    "scontrol",
)

# More than the machine has: nothing is enforced but memory, by polling, so that a small machine can play a large one.
CPUS, MEMORY_MB, GPUS = 32, 200_000, 8

# A GPU is a character device whose name ends in the number that becomes the job's CUDA_VISIBLE_DEVICES.
GRES = """\
AutoDetect=off
NodeName={host} Name=gpu File={folder}/gpu[0-{last}]
"""

# cred_expire is also how long a job waits that is requeued. Jobs that have ended stay known for MinJobAge, and a node
# that was set down stays down until it is told to resume.
SLURM = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
GresTypes=gpu
JobRequeue=1
KillWait=30
MinJobAge=600
ReturnToService=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 \
RealMemory={memory} Gres=gpu:{gpus}
PartitionName=main Nodes={host} Default=YES MaxTime=1-00:00:00 DefaultTime=00:10:00 State=UP
"""


def why_not() -> str:
    """Say why Slurm cannot be started here; empty where it can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (slurm-wlm, munge)" if absent else ""


class Cluster(NamedTuple):
    """A cluster that runs.

    Attributes
    ----------
    folder
        Its configuration, logs and state.
    node
        The name of its node.
    """

    folder: Path
    node: str

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need, but for `programs` on PATH."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    @property
    def programs(self) -> Path:
        """The `srun` of its jobs, which speaks to this cluster though Snakemake hides SLURM_CONF from it."""
        return self.folder / "programs"

    def ask(self, *command: str) -> str:
        """Run a client of Slurm to its end; give what it prints."""
        return subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()

    def jobs(self, *states: str) -> dict[str, str]:
        """Comments of jobs by their number: in these states, or of all that are not over."""
        asked = [f"--states={','.join(states)}"] if states else []
        lines = self.ask("squeue", "--noheader", "--format=%i %k", *asked).splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def set_node(self, state: str) -> None:
        """Set the node `down`, or let it `resume`."""
        self.ask("scontrol", "update", f"nodename={self.node}", f"state={state}", "reason=test")


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Start Slurm in a folder of its own, and end it with all of its jobs."""
    # Short: the path of a socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder, socket.gethostname().partition(".")[0])
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _configure(cluster)
        stack.enter_context(_daemon(cluster, "munged", *_munged(folder)))
        _wait(cluster, "munged", (folder / "munge.socket").exists)
        stack.enter_context(_daemon(cluster, "slurmctld", "-D", "-c"))
        _wait(cluster, "slurmctld", lambda: "UP" in cluster.ask("scontrol", "ping"))
        stack.enter_context(_daemon(cluster, "slurmd", "-D", "-c"))
        _wait(cluster, "slurmd", lambda: cluster.ask("sinfo", "-h", "-o", "%T") == "idle")
        stack.callback(_cancel_all, cluster)
        yield cluster


def _configure(cluster: Cluster) -> None:
    folder = cluster.folder
    for name in ("controller", "node"):
        (folder / name).mkdir()
    for number in range(GPUS):
        (folder / f"gpu{number}").symlink_to("/dev/null")
    cluster.programs.mkdir()
    text = f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
    (cluster.programs / "srun").write_text(text)
    (cluster.programs / "srun").chmod(0o755)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    ports = _free_ports(2)
    values = {
        "folder": folder,
        "host": cluster.node,
        "last": GPUS - 1,
        "gpus": GPUS,
        "cpus": CPUS,
        "memory": MEMORY_MB,
        "controller_port": ports[0],
        "node_port": ports[1],
    }
    (folder / "slurm.conf").write_text(SLURM.format(**values))
    (folder / "gres.conf").write_text(GRES.format(**values))
    (folder / "cgroup.conf").write_text("ConstrainRAMSpace=no\nConstrainDevices=no\n")


def _munged(folder: Path) -> list[str]:
    # --force: it would rather not have its files below a folder that all may write in.
    options = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
    paths = [f"--{option}={folder}/munge.{suffix}" for option, suffix in options.items()]
    return ["--foreground", "--force", "--num-threads=2", f"--log-file={folder}/munge.log", *paths]


@contextlib.contextmanager
def _daemon(cluster: Cluster, name: str, *arguments: str) -> Iterator[None]:
    # It ends with these tests also where they are killed.
    command = ["setpriv", "--pdeathsig", "TERM", name, *arguments]
    with (cluster.folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cancel_all(cluster: Cluster) -> None:
    """End all jobs: the processes of a step outlive the daemons."""
    for number in cluster.jobs():
        with contextlib.suppress(subprocess.CalledProcessError):  # it may have ended meanwhile
            cluster.ask("scancel", "--full", "--signal=KILL", number)
    with contextlib.suppress(subprocess.CalledProcessError):
        cluster.ask("scancel", "--user=root")
    _wait(cluster, "slurmctld", lambda: not cluster.jobs())


def _wait(cluster: Cluster, daemon: str, is_ready: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(subprocess.CalledProcessError):
            if is_ready():
                return
        if time.monotonic() > end:
            log = (cluster.folder / f"{daemon}.log").read_text()
            raise TimeoutError(f"{daemon} is not ready after {seconds:.0f} s:\n{log[-3000:]}")
        time.sleep(0.1)


def _free_ports(n_ports: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n_ports)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


if __name__ == "__main__":
    if reason := why_not():
        raise SystemExit(reason)
    with running() as started:
        print(
            f"export SLURM_CONF={started.folder}/slurm.conf PATH={started.programs}:$PATH",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
