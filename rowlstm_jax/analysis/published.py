"""Published test accuracies, and a table of them beside ours."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rowlstm_jax.analysis.figures import values_over_seeds
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import read_json


class Published(NamedTuple):
    """What somebody else reports: the network, its test accuracy in percent as they write it, protocol and source."""

    network: str
    accuracy: str
    source: str
    protocol: str = "-"


CITED = "as cited in arXiv:2110.04744"
TORCH = "torch's permutation, seed {}".format
S4_SPLIT = "10 % of the training images for validation"
FASHION = "https://github.com/zalandoresearch/fashion-mnist"

# By data set and order: the name of the task, and what is published.
TASKS: dict[tuple[str, str], tuple[str, tuple[Published, ...]]] = {
    ("mnist", "rows"): (
        "MNIST by rows",
        (Published("ReNet", "99.55", "arXiv:1505.00393", "reads in four directions"),),
    ),
    ("mnist", "pixels"): (
        "MNIST by pixels",
        (
            Published("LSTM, 256 units", "98.8", CITED),
            Published("GRU, 256 units", "99.1", CITED),
            Published("coRNN, 128 units", "99.3", CITED),
            Published("coRNN, 256 units", "99.4", "arXiv:2010.00951"),
            Published("Lipschitz RNN", "99.4", "arXiv:2006.12070"),
            Published("LEM", "99.5", "arXiv:2110.04744"),
            Published("S4", "99.63", "arXiv:2111.00396", S4_SPLIT),
            Published("S5", "99.65", "arXiv:2208.04933", S4_SPLIT),
        ),
    ),
    ("mnist", "permuted"): (
        "MNIST by permuted pixels",
        (
            Published("LSTM, 256 units", "92.9", CITED),
            Published("GRU, 256 units", "94.1", CITED),
            Published("Lipschitz RNN", "96.3", "arXiv:2006.12070", TORCH(12008)),
            Published("coRNN, 128 units", "96.6", CITED),
            Published("LEM", "96.6", "arXiv:2110.04744", TORCH(5544)),
            Published("coRNN, 256 units", "97.3", "arXiv:2010.00951", TORCH(12008)),
            Published("S5", "98.67", "arXiv:2208.04933", f"bit reversal; {S4_SPLIT}"),
            Published("S4", "98.70", "arXiv:2111.00396", f"bit reversal; {S4_SPLIT}"),
        ),
    ),
    ("fashion_mnist", "rows"): (
        "Fashion-MNIST by rows",
        (
            Published("GRU with SVM", "88.8", FASHION),
            Published("GRU with SVM, dropout", "89.7", FASHION),
        ),
    ),
    ("fashion_mnist", "pixels"): ("Fashion-MNIST by pixels", ()),
}


def published_table(summaries: Iterable[Mapping[str, Any]]) -> str:
    """A table in Markdown: the published accuracies of each task, and below them those of finished runs.

    Args:
      summaries: of runs, as summary.json has them.

    Raises:
      LookupError, TypeError, ValueError: one is no summary of a run of a task in `TASKS`.
    """
    ours: dict[tuple[str, str], list[str]] = {task: [] for task in TASKS}
    for summary in summaries:
        fields = summary["protocol"]["fields"]
        task = fields["dataset"], fields["order"].partition("_")[0]
        ours[task].append(_line(TASKS[task][0], *_ours(summary)))
    columns = ("task", "network", "test accuracy, %", "95 % interval", "seeds", "protocol")
    lines = [_line(*columns, "parameters", "training", "source"), "| --- " * 9 + "|"]
    for task, (name, published) in TASKS.items():
        for row in published:
            lines.append(_line(name, row.network, row.accuracy, "-", "-", row.protocol, "-", "-", _link(row.source)))
        lines += ours[task]
    return "\n".join(lines) + "\n"


def stored_summaries(results: Path, experiments: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """The summaries that are stored of some experiments, with all that tables of results show.

    Args:
      results: the folder of <experiment>.json.
      experiments: pairs of an experiment and the name of its protocol. What is not stored is left out.

    Raises:
      UserError: a file is no summary of a finished run of its experiment by its protocol.
    """
    found = []
    for experiment, protocol in experiments:
        if (path := results / f"{experiment}.json").exists():
            kind, remedy = f"summary of {experiment} by the protocol {protocol}", "store one of a finished run"
            summary = read_json(path, remedy)
            try:
                if (summary["experiment"], summary["protocol"]["name"]) != (experiment, protocol):
                    raise ValueError("another run")
                _require_shown(summary)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise UserError(f"{path} is no {kind} ({error!r}); {remedy}.") from None
            found.append(summary)
    return found


def _require_shown(summary: Mapping[str, Any]) -> None:
    published_table([summary])
    if len(summary["seeds"]) != len(values_over_seeds(summary["test_accuracy"])):
        raise ValueError("seeds and accuracies differ in number")


def _ours(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells after the task."""
    values = values_over_seeds(summary["test_accuracy"])
    several = len(values) > 1
    low, high = summary["test_accuracy"]["interval_95"] if several else summary["test_accuracy_interval_95"]
    experiment, fields = summary["experiment"], summary["protocol"]["fields"]
    order = fields["order"].partition("_")[2].replace("_", " ")
    validation = f"{fields['validation_examples']:,} images for validation"
    protocol = "; ".join(filter(None, (order, validation, _augmentation(fields["augmentation"]))))
    return (
        f"**`{experiment}`**",
        f"**{100 * sum(values) / len(values):.2f}**",
        f"{100 * low:.2f} to {100 * high:.2f}",
        str(len(values)),
        protocol,
        f"{summary['num_params']:,}",
        f"{training_minutes(summary):.0f} min, {hardware(summary)}",
        f"[{experiment}.json]({experiment}.json)",
    )


def training_minutes(summary: Mapping[str, Any]) -> float:
    """Minutes of training, all seeds together, by the pace of the last steps."""
    return summary["timing"]["ms_per_step"] * summary["steps"] / 60_000


def hardware(summary: Mapping[str, Any]) -> str:
    """What trained a run: its accelerators, or the cores of its processor.

    Example:
      >>> hardware({"environment": {"backend": "cpu", "cores": 2, "processor": "AMD EPYC"}})
      '2 cores of AMD EPYC'
    """
    environment = summary["environment"]
    if environment["backend"] == "cpu":
        cores = environment["cores"]
        return f"{cores} core{'s' * (cores > 1)} of {environment['processor']}"
    return ", ".join(environment["devices"])


def _augmentation(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "no augmentation"
    maps, *more = found.get("name", "affine").split(", ")
    return ", ".join([f"augmented: {maps} maps", *more, *["mirror images"] * bool(found.get("flip"))])


def _link(source: str) -> str:
    words, _, number = source.rpartition("arXiv:")
    if number == source:
        return f"[{source.rpartition('/')[2]}]({source})"
    return f"{words}[arXiv:{number}](https://arxiv.org/abs/{number})"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
