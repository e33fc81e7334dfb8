"""The job scripts of the README on a real SLURM of one node and under a real mpirun: the same bytes after a requeue.

They need Debian's slurm-wlm and munge, or openmpi-bin, and root; elsewhere they are skipped.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.benchmarks import same_bits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "rowlstm_jax/parallel/README.md").read_text()
FLAGS = "--steps 1000 --hidden 8 --batch-size 20 --log-every 20 --eval-every 500 --checkpoint-every 50"  # time to act
CONF = """
ClusterName=test
SlurmctldHost={host}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmUser=root
SlurmctldPort={port}
SlurmdPort={other}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
NodeName={host} CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("mnist")]


def script(name: str) -> str:
    """A job script of the README, with the flags of a small run."""
    (text,) = re.findall(rf"<!-- {name} -->\n```bash\n(.*?)^```$", PAGE, re.M | re.S)
    assert "experiments.mnist_rows --distributed" in text
    text = text.replace("--distributed", f"--distributed --peer-timeout 10 {FLAGS}")
    return text.replace(" python ", f" {sys.executable} ")


def wait(condition: Callable[[], object], seconds: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working directory in which `python -m experiments...` works."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def daemons(*commands: list[str]) -> Iterator[None]:
    processes = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(1)
            assert processes[-1].poll() is None, f"{command[0]} ended at once"
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch) -> Iterator[None]:
    """SLURM on this node, with a core for each task."""
    tools = {
        name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("munged", "slurmctld", "slurmd")
    }
    if None in tools.values() or os.geteuid() != 0 or (os.cpu_count() or 1) < 2:
        pytest.skip("SLURM and munge are not installed here, or this is not root, or there is one core")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    for directory in (folder, *folder.parents[:2]):
        directory.chmod(0o755)
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("", 0))
            ports.append(free.getsockname()[1])
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, port=ports[0], other=ports[1], cores=os.cpu_count()))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    munge = [f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed", "--foreground", "--force"]
    with daemons(
        [tools["munged"], *munge], [tools["slurmctld"], "-D", "-f", str(conf)], [tools["slurmd"], "-D", "-f", str(conf)]
    ):
        yield


def slurm_state(job: str) -> str:
    shown = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True).stdout
    return " ".join(re.findall(r"(?:JobState|Restarts)=(\S+)", shown))


def test_a_slurm_job_that_is_stopped_and_one_that_is_killed_end_in_the_same_bytes(place, slurm):
    (place / "job.sh").write_text(script("slurm"))

    def submit() -> str:
        return subprocess.run(
            ["sbatch", "--parsable", "job.sh"], capture_output=True, text=True, check=True
        ).stdout.strip()

    def output(job: str) -> str:
        return f"{slurm_state(job)}\n" + (place / f"slurm-{job}.out").read_text()[-2000:]

    def run(job: str) -> Path:
        return place / "runs/mnist_rows" / f"job-{job}"

    def saved(job: str) -> bool:
        return same_bits.last_step(run(job)) >= 50

    def finish(job: str) -> None:
        wait(lambda: "COMPLETED" in slurm_state(job), 400, lambda: output(job))

    undisturbed = submit()
    finish(undisturbed)
    assert "Batches of 20 on 2 cpu devices in 2 processes" in (place / f"slurm-{undisturbed}.out").read_text()
    stopped, killed = submit(), submit()  # SLURM holds a requeued job for two minutes
    wait(lambda: saved(stopped), 120, lambda: output(stopped))
    subprocess.run(["scancel", "--signal=TERM", stopped], check=True)
    wait(lambda: saved(killed), 120, lambda: output(killed))
    os.kill(newest_process(f"experiments.mnist_rows.*job-{killed}"), signal.SIGKILL)
    for job in (stopped, killed):
        finish(job)
        assert re.search(r"^Resumed from step \d+", (place / f"slurm-{job}.out").read_text(), re.M)
        same_bits.require(run(job), run(undisturbed))


def newest_process(pattern: str) -> int:
    found = subprocess.run(["pgrep", "--newest", "-f", f"^{sys.executable}.*{pattern}"], capture_output=True, text=True)
    return int(found.stdout)


def test_the_mpi_script_goes_on_after_a_signal_and_after_a_kill(place):
    if shutil.which("mpirun") is None:
        pytest.skip("Open MPI is not installed here")
    (place / "mpi.sh").write_text(script("mpi").replace("mpirun", "mpirun --allow-run-as-root --oversubscribe"))
    run = place / "runs/mnist_rows/mpi"

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(["bash", "mpi.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with start() as process:
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    run.rename(run.with_name("undisturbed"))
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with start() as process:
            wait(lambda: same_bits.last_step(run) >= 50, 120, lambda: "no step was saved")
            os.kill(newest_process("experiments.mnist_rows.*mpi"), signum)
            out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
        assert "Resumed from step" in out
        same_bits.require(run, run.with_name("undisturbed"))
        shutil.rmtree(run)
