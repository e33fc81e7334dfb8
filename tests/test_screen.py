"""What is printed: foreign text can't control a terminal, and a terminal that goes away ends nothing."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rowlstm_jax.screen import printable, unbreakable

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
PROGRAM = """
import sys
from rowlstm_jax.screen import unbreakable
with unbreakable():
    for number in range(20_000):
        print("a line of text")
    print("to the other stream", file=sys.stderr)
    sys.stdout.flush()
sys.exit(7)
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 95 % ± 1 é 漢\nnext", "plain, 95 % ± 1 é 漢\nnext"),
        ("\x1b[2Jgone\r", r"\x1b[2Jgone\r"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("tab\t\x00\x9b", r"tab\t\x00\x9b"),
        ("file\udcff", r"file\udcff"),
        ("x" * 3000 + "\nend", "x" * 1000 + "... (3,000 characters) ..." + "x" * 1000 + "\nend"),
    ],
)
def test_control_and_bidirectional_characters_are_escaped_and_long_lines_cut(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    "command",
    ["{} | head -3", "{} > /dev/full", "{} >&-", "{} 2>&-", "{} 2>&- >&-", "{} 2>&1 | true", "{} > /dev/full 2>&1"],
)
def test_a_program_whose_output_goes_nowhere_ends_as_it_would(command, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    program = command.format(f"{sys.executable} {tmp_path / 'program.py'}")
    script = f"set -o pipefail; {program}; exit $?"
    done = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert set(done.stderr.splitlines()) <= {"to the other stream"}


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    program = f"""
import os, sys
from rowlstm_jax.screen import unbreakable
with unbreakable(), open({str(tmp_path / "results")!r}, "w") as file:
    os.write(2, b"XLA prints a warning")
    file.write("results")
"""
    (tmp_path / "program.py").write_text(program)
    command = f"{sys.executable} {tmp_path / 'program.py'} 2>&-"
    subprocess.run(["bash", "-c", command], env=ENVIRONMENT, check=True)
    assert (tmp_path / "results").read_text() == "results"


def test_text_that_a_stream_cannot_encode_is_escaped(monkeypatch):
    stream = io.TextIOWrapper(buffer := io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with unbreakable():
        print("96 ± 1")
    assert buffer.getvalue() == rb"96 \xb1 1" + os.linesep.encode()
    assert sys.stdout is stream
