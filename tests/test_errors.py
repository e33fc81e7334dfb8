"""How the three errors end a script that does not catch them: one sentence, and the exit status of the command line."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from rowlstm_jax.errors import InterruptedRun, NonFiniteError, UserError, ending

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("Do that."), ("error: Do that.", 2)),
        (NonFiniteError("Lower it."), ("error: Lower it.", 1)),
        (InterruptedRun("Stopped.", 15), ("Stopped.", 143)),
        (ValueError("a mistake in the code"), None),
    ],
)
def test_each_error_has_a_sentence_and_a_status(error, expected):
    assert ending(error) == expected


@pytest.mark.parametrize(
    ("raised", "status", "err"),
    [
        ("UserError('Do that.')", 2, "error: Do that.\n"),
        ("InterruptedRun('Stopped.', 15)", 143, "Stopped.\n"),
        ("ValueError('mine')", 1, None),
    ],
)
def test_a_script_without_the_command_line_ends_as_with_it(raised, status, err):
    program = (
        "from rowlstm_jax.errors import InterruptedRun, UserError; "
        f"first = UserError('made, and not raised'); raise {raised}"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr == err if err else "Traceback" in done.stderr


def test_an_interactive_session_goes_on():
    program = "from rowlstm_jax.errors import UserError\nraise UserError('Do that.')\nprint('still here')\n"
    done = subprocess.run([sys.executable, "-i"], input=program, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "still here\n"
    assert "error: Do that.\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_notebook_shows_the_sentence():
    assert UserError("Do that.")._render_traceback_() == ["error: Do that."]
    assert InterruptedRun("Stopped.", 2)._render_traceback_() == ["Stopped."]


def test_an_interruption_is_not_caught_as_an_error_and_travels_between_processes():
    assert not isinstance(InterruptedRun("Stopped.", 2), Exception)
    again = pickle.loads(pickle.dumps(InterruptedRun("Stopped.", 2)))
    assert (str(again), again.signum) == ("Stopped.", 2)
