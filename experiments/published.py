"""Make a table of published accuracies beside ours, and a picture of accuracy over minutes, from the stored results.

    run=runs/mnist_pixels_record/latest
    grep validation_accuracy $run/metrics.jsonl > experiments/results/mnist_pixels_record.jsonl
    python -m experiments.published

It reads the summaries that `results_table` reads. The picture shows validation accuracy after minutes on two CPU cores.
Of `mnist_pixels_record` it shows the records, at the pace of one seed's step in the stored benchmark `linear_scan`; of
the LSTM of `mnist_pixels` the end, which is all that is stored.
"""

import dataclasses
from pathlib import Path

from experiments import results_table
from rowlstm_jax import UserError, cli, plots
from rowlstm_jax.analysis import published_table, stored_summaries, training_minutes, values_over_seeds
from rowlstm_jax.config import Flags  # flags of a script that trains nothing
from rowlstm_jax.runs import read_json, read_lines, write_text  # small files, written whole

NOTES = """# Published test accuracies, and ours

`python -m experiments.published` makes this page from the summaries in this folder. Ours are bold: the mean over seeds,
and the 95 % interval of that mean; with one seed, the interval over test images. "Training" is the time of all seeds
together. Every choice was made on validation images, and the test set was opened once. Published protocols differ in
more than is said here: scaling, split, and whether the epoch was chosen on validation or on test images.

"""


@dataclasses.dataclass(frozen=True)
class Config(Flags):
    """Write the table of published accuracies beside ours, and draw accuracy over minutes."""

    results: Path = results_table.ROOT / "experiments" / "results"
    """The folder of the stored results, in which published.md and accuracy_over_minutes.png are written."""

    def __post_init__(self):
        super().__post_init__()
        if not self.results.is_dir():
            raise UserError(f"--results is {self.results}; it must name the folder of the stored results.")


def curves(results: Path) -> dict[str, tuple[list[float], list[list[float]]]]:
    """Minutes [K] and validation accuracies [K, S] of the networks that read pixels."""
    again = "store it again, as experiments.published says"
    benchmark, lstm = results / "linear_scan" / "t784.json", results / "mnist_pixels.json"
    records, summary = results / "mnist_pixels_record.jsonl", read_json(lstm, again)
    try:
        (pace,) = [row["median_ms"] for row in read_json(benchmark, again)["rows"] if row["name"] == "step of a run"]
        found = read_lines(records, again)
        minutes = [record["step"] * pace / 60_000 for record in found]
        end = [training_minutes(summary)], [values_over_seeds(summary["validation_accuracy"])]
        accuracies = [values_over_seeds({"values": record["validation_accuracy"]}) for record in found]
        return {"two S5 layers, the time of one seed": (minutes, accuracies), "LSTM, the end of its training": end}
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"One of {records}, {lstm} and {benchmark} is damaged ({error!r}); {again}.") from None


def main(config: Config) -> None:
    summaries = stored_summaries(config.results, results_table.EXPERIMENTS)
    text, drawn = NOTES + published_table(summaries), curves(config.results)
    write_text(config.results / "published.md", text)
    print(text, end="")
    about = "MNIST by pixels · line: mean over seeds; band: from the least to the most · minutes: steps times "
    about += "the time of a step on two cores of an AMD EPYC; the S5 layers were trained on a GPU"
    plots.accuracy_over_minutes(config.results / "accuracy_over_minutes.png", drawn, about)


if __name__ == "__main__":
    cli.run(main, Config)
