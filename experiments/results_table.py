"""Make the README's table of results from the stored summaries.

    cp runs/mnist_rows/latest/summary.json experiments/results/mnist_rows.json
    python -m experiments.results_table

The table stands between two marks in README.md and is written anew; a test holds it against the summaries.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from rowlstm_jax import cli

ROOT = Path(__file__).parents[1]
MARKS = "<!-- results -->\n", "<!-- end of results -->\n"
# Experiments in the order of the table, and what they read.
EXPERIMENTS = {
    "mnist_rows": "MNIST by rows, the notebook's training",
    "mnist_rows_record": "MNIST by rows, augmented, as well as it can",
    "fashion_rows": "Fashion-MNIST by rows, augmented",
    "mnist_pixels": "MNIST by pixels (784 steps)",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Write the README's table of results anew."""

    readme: Path = ROOT / "README.md"
    """The file that holds the marks."""
    results: Path = ROOT / "experiments" / "results"
    """The folder of the summaries, <experiment>.json."""


def table(results: Path) -> str:
    """The table in Markdown."""
    lines = ["| experiment | reads | steps | parameters | seeds | test accuracy | training |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for experiment, task in EXPERIMENTS.items():
        if (path := results / f"{experiment}.json").exists():
            lines.append(_row(experiment, task, json.loads(path.read_text())))
    return "\n".join(lines) + "\n"


def _row(experiment: str, task: str, summary: dict[str, Any]) -> str:
    accuracy, seeds = summary["test_accuracy"], summary["seeds"]
    if len(seeds) > 1:
        figure, which = f"{100 * accuracy['mean']:.2f} ± {100 * accuracy['std']:.2f} %", f"{seeds[0]}-{seeds[-1]}"
    else:
        figure, which = f"{100 * accuracy:.2f} %", f"{seeds[0]}"
    minutes = f"{summary['timing']['seconds']['train'] / 60:.0f} min"
    sizes = f"{summary['steps']:,} | {summary['num_params']:,}"
    return f"| `{experiment}` | {task} | {sizes} | {which} | {figure} | {minutes} |"


def write(readme: Path, results: Path) -> None:
    text = readme.read_text()
    before, after = text.partition(MARKS[0])[0], text.partition(MARKS[1])[2]
    readme.write_text(before + MARKS[0] + table(results) + MARKS[1] + after)


def main(config: Config) -> None:
    write(config.readme, config.results)
    print(table(config.results), end="")


if __name__ == "__main__":
    cli.run(main, Config)
