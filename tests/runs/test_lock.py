import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.lock import FolderLock

HOLD = """
import sys
from pathlib import Path
from rowlstm_jax.runs.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_the_holder_is_named_and_a_dead_one_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lock = FolderLock(tmp_path)
        with pytest.raises(UserError, match=rf"^Process {holder.pid} on {socket.gethostname()} is using {tmp_path};"):
            lock.acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert json.loads((tmp_path / ".owner").read_text())["process"] == holder.pid, "it left its name behind"
    lock.acquire()
    (tmp_path / ".owner").write_text("damaged")
    with pytest.raises(UserError, match=r"^Another process is using"):
        FolderLock(tmp_path).acquire()
    lock.remove()
    assert list(tmp_path.iterdir()) == []
