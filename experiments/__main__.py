"""`python -m experiments` lists the experiments."""

import ast
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    summary = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    print(f"python -m experiments.{path.stem:<18} {summary}")
