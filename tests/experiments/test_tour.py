"""The tour is executed, says nothing that was not computed, uses public names only, and runs from start to end."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rowlstm_jax

ROOT = Path(__file__).parents[2]
TOUR = ROOT / "experiments/tour.ipynb"
CELLS = json.loads(TOUR.read_text())["cells"]


def text_of(kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == kind]


def test_it_is_executed_in_order_without_errors_and_is_small():
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 20
    assert TOUR.stat().st_size < 2_000_000
    assert not re.search(r"/(home|Users|root|work)/", json.dumps(outputs))


def test_its_prose_holds_no_results():
    """A result has a decimal point or a percent sign; levels (95 %, 99 %, 0.05) and the step size are chosen."""
    for text in text_of("markdown"):
        plain = re.sub(r"\$.*?\$|`.*?`|\]\(.*?\)", "", text, flags=re.S)
        assert set(re.findall(r"\d+\.\d+|\d+ ?%", plain)) <= {"95 %", "99 %", "0.001", "0.05"}, plain


def test_it_uses_public_names_only():
    for code in text_of("code"):
        for node in ast.walk(ast.parse(re.sub(r"^( *)%.*$", r"\1pass", code, flags=re.M))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rowlstm_jax"):
                assert node.module == "rowlstm_jax"
                assert {alias.name for alias in node.names} <= set(rowlstm_jax.__all__)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in ("mnist_rows", "insight", "predict"):
                    assert node.attr in ("main", "Config")
                assert not node.attr.startswith("_")


def test_its_headings_are_those_of_its_contents_and_its_links_lead_somewhere():
    text = "\n".join(text_of("markdown"))
    headings = re.findall(r"^## (\d+\. .*)$", text, re.M)
    assert re.findall(r"^\d+\. \[(.*)\]\(#", text, re.M) == [heading.partition(" ")[2] for heading in headings]
    assert re.findall(r"\]\(#(.*)\)$", text, re.M) == [heading.replace(" ", "-") for heading in headings]
    for link in re.findall(r"\]\(((?!#|https:).*?)\)", text):
        path, _, heading = link.partition("#")
        assert (TOUR.parent / path).exists(), link
        if heading:
            assert f"# {heading.replace('-', ' ')}\n" in (TOUR.parent / path).read_text().lower(), link


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_it_runs_from_start_to_end(tmp_path):
    """As its page says, in another folder, so that it has to find the project. Its comparisons take few steps here."""
    folder = tmp_path / "project" / "experiments"
    folder.mkdir(parents=True)
    for name in ("rowlstm_jax", "constraints.txt"):
        (tmp_path / "project" / name).symlink_to(ROOT / name)
    for path in (ROOT / "experiments").iterdir():
        (folder / path.name).symlink_to(path)
    (folder / TOUR.name).unlink()
    shorter, found = re.subn(r"(steps\\\": )333(.*: )111\b", r"\g<1>20\g<2>10", TOUR.read_text())
    assert found == 1
    (folder / TOUR.name).write_text(shorter)
    command = [sys.executable, "-m", "jupyter", "execute", "tour.ipynb", "--output", str(tmp_path / "again.ipynb")]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "again.ipynb").read_text())["cells"]
    assert [len(cell.get("outputs", [])) for cell in again] == [len(cell.get("outputs", [])) for cell in CELLS]
    written = "\n".join(
        "".join(o["data"]["text/markdown"])
        for c in again
        for o in c.get("outputs", [])
        if "text/markdown" in o.get("data", {})
    )
    correct = re.search(r"All test pictures: ([\d,]+) of 10,000", written)
    assert correct
    assert int(correct[1].replace(",", "")) > 9_500
    assert "It has 81,674 weights" in written
