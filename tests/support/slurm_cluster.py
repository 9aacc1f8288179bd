"""A real SLURM on this host, with two nodes and two partitions, in a temporary folder.

The nodes are named by addresses of the loopback interface, which resolve without /etc/hosts, as
the processes of a job must resolve the first of them to meet. A job in the partition ``high``
preempts those in ``low``, which have ``GRACE_S`` seconds to save.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

GRACE_S = 20
NODES = ("127.0.0.1", "127.0.0.2")
MARK = "SLURM_TEST_CLUSTER"
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")

CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is requeued waits for as long as credentials last.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
KillWait=5
FirstJobId={first_job}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
# The nodes claim more CPUs than the host may have, and GPUs that are only counted.
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=DEFAULT Nodes={names} OverSubscribe=EXCLUSIVE
PartitionName=low PriorityTier=1 GraceTime={grace} Default=YES
PartitionName=high PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [name for name in COMMANDS if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm, munge)" if absent else None


class SlurmCluster:
    """Starts the daemons; to be used as a context, which leaves no process behind."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        self._daemons: list[subprocess.Popen] = []
        self.environment = {
            **clean,
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            # Jobs inherit it too: by it, all that runs here can be told.
            MARK: str(self.folder),
        }

    def __enter__(self) -> "SlurmCluster":
        try:
            self._configure()
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def run(self, *command: str, **options: object) -> str:
        """Run a command with this cluster, and return what it prints.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment | dict(options.pop("env", {})),  # type: ignore[call-overload]
            capture_output=True,
            text=True,
            timeout=60,
            **options,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout.strip()

    def sbatch(self, *arguments: object, **options: object) -> str:
        """Submit a job, and return its id."""
        return self.run("sbatch", "--parsable", *map(str, arguments), **options)

    def show(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job, such as ``JobState`` and ``ExitCode``."""
        text = self.run("scontrol", "--oneliner", "show", "job", job)
        return dict(part.split("=", 1) for part in text.split() if "=" in part)

    def wait_for_state(self, job: str, *states: str, timeout: float = 60) -> dict[str, str]:
        """Wait until a job is in one of these states, and return what SLURM knows of it."""
        self.wait(lambda: self.show(job)["JobState"] in states, f"{job}: {states}", timeout)
        return self.show(job)

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
        """Wait until a condition holds.

        Raises:
            TimeoutError: it does not in time; tells what the queue and the controller say.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                queue = self.run("squeue")
                log = "\n".join((self.folder / "slurmctld.log").read_text().splitlines()[-20:])
                raise TimeoutError(f"waited {timeout:.0f} s for {what}\n{queue}\n{log}")
            time.sleep(0.1)

    def clear(self) -> None:
        """Cancel all jobs, and wait until the nodes are free."""
        self.run("scancel", "--user=root")
        self.wait(lambda: not self.run("squeue", "--noheader"), "an empty queue")

    def processes(self) -> list[tuple[int, str]]:
        """Process id and name of all that was runs in this cluster."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                name = (folder / "comm").read_text().strip()
            except OSError:  # it has ended
                continue
            if f"{MARK}={self.folder}".encode() in variables:
                found.append((int(folder.name), name))
        return found

    def _configure(self) -> None:
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        self.folder.chmod(0o755)
        ports = _free_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        nodes = [
            f"NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=16 Gres=gpu:2"
            for name, port in zip(NODES, ports[1:], strict=True)
        ]
        text = CONFIG.format(
            folder=self.folder,
            host=host,
            ports=ports,
            nodes="\n".join(nodes),
            names=",".join(NODES),
            grace=GRACE_S,
            # Ports of a job follow from its id: two clusters on a host must not share them.
            first_job=random.randrange(1, 60_000_000),
        )
        (self.folder / "slurm.conf").write_text(text)
        for number in range(2):
            (self.folder / f"gpu{number}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-1]\n")

    def _start(self) -> None:
        self._spawn(
            "munged",
            "--foreground",
            f"--key-file={self.folder}/munge.key",
            f"--socket={self.folder}/munge.socket",
            f"--pid-file={self.folder}/munge.pid",
            f"--log-file={self.folder}/munge.log",
            f"--seed-file={self.folder}/munge.seed",
        )
        deadline = time.monotonic() + 20
        while not (self.folder / "munge.socket").exists():
            if time.monotonic() > deadline:
                raise TimeoutError((self.folder / "munged.out").read_text())
            time.sleep(0.05)
        self._spawn("slurmctld", "-D")
        for name in NODES:
            self._spawn("slurmd", "-D", "-N", name)
        self.wait(self._ready, "two idle nodes", 30)

    def _ready(self) -> bool:
        try:
            return self.run("sinfo", "--noheader", "--format=%T", "-p", "low") == "idle"
        except RuntimeError:  # slurmctld does not answer yet
            return False

    def _spawn(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("a") as output:
            daemon = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._daemons.append(daemon)

    def _stop(self) -> None:
        # First the controller, or it would start jobs anew while they are killed.
        for names in (("slurmctld",), ("slurmd",), ()):
            self._kill(names)
        for daemon in self._daemons:
            daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self, names: tuple[str, ...]) -> None:
        """Kill the processes of this cluster with such names, by default all."""
        deadline = time.monotonic() + 20
        while left := [p for p in self.processes() if not names or p[1] in names]:
            for pid, _ in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise TimeoutError(f"left behind: {left}")
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
