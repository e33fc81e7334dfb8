"""Who trains a run; that a folder is locked stands in test_folder.py."""

import json
import os
import socket

from rowlstm_jax.runs.lock import FolderLock, running_on


def test_who_trains_a_run(tmp_path):
    lock = FolderLock(tmp_path)
    assert running_on(tmp_path) == ""
    lock.acquire()
    assert running_on(tmp_path) == f"process {os.getpid()} on {socket.gethostname()}"
    owner = tmp_path / ".owner"
    for text in ("", "[]", '{"host": 3}'):
        owner.write_text(text)
        assert running_on(tmp_path) == "another process"
    owner.write_text(json.dumps({"host": "elsewhere", "process": 3}))
    assert running_on(tmp_path) == "process 3 on elsewhere"
    lock.lock.release()  # as when the process is killed: its name stays
    assert owner.exists()
    assert running_on(tmp_path) == ""
    lock.acquire()
    lock.release()
    assert running_on(tmp_path) == ""
