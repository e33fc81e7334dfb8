"""Make the README's table of results from the stored summaries.

    cp runs/mnist_rows/latest/summary.json experiments/results/mnist_rows.json
    python -m experiments.results_table

The table stands between two marks in README.md and is written anew; a test holds it against the summaries.
"""

import dataclasses
from pathlib import Path
from typing import Any

from rowlstm_jax import UserError, cli
from rowlstm_jax.analysis import hardware, percent_over_seeds, stored_summaries, training_minutes, values_over_seeds
from rowlstm_jax.config import Flags  # flags of a script that trains nothing
from rowlstm_jax.runs import read_text, write_text  # small files, written whole

ROOT = Path(__file__).parents[1]
USUAL = "2 cores of AMD EPYC"  # what the README says of rows without hardware
MARKS = "<!-- results -->\n", "<!-- end of results -->\n"
# Experiments and their protocols in the order of the table, and what they read.
EXPERIMENTS = {
    ("mnist_rows", "notebook"): "MNIST by rows, the notebook's training",
    ("mnist_rows_record", "mnist_rows_elastic"): "MNIST by rows, augmented, as well as it can",
    ("fashion_rows", "fashion_rows_cutout"): "Fashion-MNIST by rows, augmented",
    ("fashion_pixels", "fashion_pixels_affine"): "Fashion-MNIST by pixels (784 steps), augmented",
    ("mnist_pixels", "mnist_pixels"): "MNIST by pixels (784 steps)",
    ("mnist_pixels_record", "mnist_pixels_affine"): "MNIST by pixels, augmented, by linear recurrences",
    ("mnist_permuted_record", "mnist_permuted_bit_reversal_affine"): "the same, pixels in bit-reversed order",
}


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """Write the README's table of results anew."""

    readme: Path = ROOT / "README.md"
    """The file that holds the marks."""
    results: Path = ROOT / "experiments" / "results"
    """The folder of the summaries, <experiment>.json."""


def table(results: Path) -> str:
    """The table in Markdown."""
    header = ["| experiment | reads | steps | parameters | seeds | test accuracy | training |", 7 * "| --- " + "|"]
    return "\n".join([*header, *map(_row, stored_summaries(results, EXPERIMENTS))]) + "\n"


def _row(summary: dict[str, Any]) -> str:
    experiment, seeds, steps, size = (summary[name] for name in ("experiment", "seeds", "steps", "num_params"))
    accuracy = percent_over_seeds(values_over_seeds(summary["test_accuracy"]))
    which = "-".join(map(str, sorted({seeds[0], seeds[-1]})))
    where = "" if (found := hardware(summary)) == USUAL else f", {found}"
    figures = f"{steps:,} | {size:,} | {which} | {accuracy} % | {training_minutes(summary):.0f} min{where} |"
    return f"| `{experiment}` | {EXPERIMENTS[experiment, summary['protocol']['name']]} | {figures}"


def write(readme: Path, results: Path) -> None:
    before, _, rest = read_text(readme, "name with --readme the file that holds the marks").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise UserError(f"{readme} has no lines {MARKS[0].strip()} and {MARKS[1].strip()} with the table between them.")
    write_text(readme, before + MARKS[0] + table(results) + MARKS[1] + after)


def main(config: Config) -> None:
    write(config.readme, config.results)
    print(table(config.results), end="")


if __name__ == "__main__":
    cli.run(main, Config)
