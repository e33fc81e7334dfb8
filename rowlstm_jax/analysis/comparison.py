"""Two finished runs side by side: whether they may be compared, and whether they differ."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rowlstm_jax.analysis.results import Result, open_run
from rowlstm_jax.analysis.statistics import (
    McNemar,
    OverExamples,
    OverSeeds,
    compare_examples,
    compare_losses,
    compare_seeds,
    mcnemar,
    student_interval,
)
from rowlstm_jax.errors import UserError
from rowlstm_jax.runs import console
from rowlstm_jax.tasks import protocol_digest


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs and the tests of their difference, which is the second run minus the first."""

    first: Result
    second: Result
    differing: list[str]  # fields of the protocol
    over_seeds: OverSeeds | None  # None unless both runs have two seeds or more
    over_examples: OverExamples  # of the mean accuracies
    pairs: list[McNemar]  # the first seeds of both runs, the second seeds of both, and so on

    def show(self) -> None:
        """Print the runs, the tests, and what each test says."""
        runs = {"A": self.first, "B": self.second}
        for name, run in runs.items():
            console.say(f"{name}: {run.experiment}, {run.directory}")
            if run.openings > 1:
                console.say(
                    f"Warning: the test set was opened {run.openings} times in {name}; its accuracy may be selected."
                )
        if self.differing:
            console.say(
                f"Their protocols differ, as asked, in {_name_fields(self.first, self.second, self.differing)}."
            )
        header = ("run", "seeds", "parameters", "steps", "mean", "std", "95 % interval")
        title = f"Test {self.first.measure} over seeds{', %' * self._in_percent}"
        console.show_table(title, header, [_row(*run, self._unit) for run in runs.items()])
        _show_tests(self.over_seeds, self.over_examples, self._unit)
        if not self.pairs:
            return
        rows = [
            (f"A {a}, B {b}", pair.both, pair.only_first, pair.only_second, pair.neither, format_p(pair.p))
            for a, b, pair in zip(self.first.seeds, self.second.seeds, self.pairs, strict=False)
        ]
        header = ("seeds", "both right", "only A", "only B", "neither", "p")
        console.show_table("McNemar's exact test, one network of each run", header, rows)
        console.say(
            "Each p-value is about its two networks only. Pairs follow the order of the seeds: do not combine them."
        )

    @property
    def _in_percent(self) -> bool:
        return self.first.measure == "accuracy"

    @property
    def _unit(self) -> float:
        """By what figures are multiplied for print."""
        return 100.0 if self._in_percent else 1.0

    def draw(self, path: Path) -> None:
        """Draw the test results over seeds, and the examples on which the networks of a pair disagree, as a PNG.

        Of targets that are no classes, it draws the losses of the examples instead.
        """
        from rowlstm_jax.analysis import plots  # here, because a user's mistake is told before matplotlib is loaded

        runs, examples = (self.first, self.second), self.over_examples
        unit = self._unit
        about = [plots.about_run(run.directory) or run.experiment for run in runs]
        over_seeds = f"B minus A: {_in_words(*self.over_seeds[:2], unit)}" if self.over_seeds else "One seed: no test"
        plots.comparison(
            path,
            names=[f"{name}: {run.directory.name} · {line}" for name, run, line in zip("AB", runs, about, strict=True)],
            values=[run.results for run in runs],
            intervals=[student_interval(run.results) for run in runs],
            measure=self.first.measure,
            discordant=np.array([(pair.only_first, pair.only_second) for pair in self.pairs]),
            losses=[run.judged.mean(axis=0) for run in runs],
            pairs=[f"seeds {a}, {b}" for a, b in zip(runs[0].seeds, runs[1].seeds, strict=False)],
            captions=(f"Over seeds. {over_seeds}", f"Over examples. B minus A: {_in_words(*examples[:2], unit)}"),
        )


def compare(first: Result | Path | str, second: Result | Path | str, differ_in: Sequence[str] = ()) -> Comparison:
    """Test whether two runs differ, over seeds and over test examples.

    Args:
      first: a run that `open_run` returned, or its folder.
      second: another, on the same test examples.
      differ_in: the fields of the protocol in which they may differ; order covers order_sha256.

    Raises:
      UserError: they are the same run, or differ in another field of the protocol or in the data.
    """
    first, second = (run if isinstance(run, Result) else open_run(run) for run in (first, second))
    differing = _require_comparable(first, second, differ_in)
    pairs = [mcnemar(a, b) for a, b in zip(first.correct, second.correct, strict=False)]
    over_seeds, test = compare_seeds(first.results, second.results), compare_examples
    if first.measure == "loss":
        test = compare_losses
    return Comparison(first, second, differing, over_seeds, test(first.judged, second.judged), pairs)


def _require_comparable(first: Result, second: Result, differ_in: Sequence[str]) -> list[str]:
    """The fields of the protocol that differ, all of which may; raises a UserError as `compare` does."""
    if first.directory == second.directory:
        raise UserError(f"Both runs are {first.directory}; name two different runs.")
    for result in (first, second):
        result.require_tested()
        if protocol_digest(result.protocol["fields"]) != result.protocol["sha256"]:
            raise UserError(
                f"The protocol in {result.directory / 'summary.json'} does not have the digest that is written there, "
                "so the file was changed; run the experiment again."
            )
    a, b = first.protocol["fields"], second.protocol["fields"]
    fields = sorted({**a, **b})
    if unknown := [name for name in differ_in if name not in fields]:
        raise UserError(f"--differ-in names {', '.join(unknown)}; the protocols' fields are {', '.join(fields)}.")
    differing = [name for name in fields if name not in a or name not in b or a[name] != b[name]]
    refused = [name for name in differing if not any(name == may or name.startswith(f"{may}_") for may in differ_in)]
    if refused:
        raise UserError(
            f"The runs follow different protocols, in {_name_fields(first, second, refused)}; compare runs of one "
            "protocol, or name what may differ with --differ-in."
        )
    if first.measure != second.measure:
        raise UserError("One run has classes and the other has not; compare runs of one kind.")
    if first.data["sha256"] != second.data["sha256"] or not np.array_equal(first.labels, second.labels):
        names = [f"{result.data['name']} {result.data['version']}" for result in (first, second)]
        raise UserError(f"The runs' data differ ({' and '.join(names)}); compare runs on the same test examples.")
    return differing


def _name_fields(first: Result, second: Result, names: Sequence[str]) -> str:
    a, b = first.protocol["fields"], second.protocol["fields"]
    return ", ".join(f"{name} ({a.get(name, 'absent')} and {b.get(name, 'absent')})" for name in names)


def _row(name: str, run: Result, unit: float) -> tuple[object, ...]:
    interval, std, shown, values = student_interval(run.results), "", "", unit * np.array(run.results)
    digits = 3 if unit > 1 else 5
    if interval:
        low, high = (f"{unit * end:.{digits - 1}f}" for end in interval)
        std, shown = f"{np.std(values, ddof=1):.{digits}f}", f"{low} to {high}"
    return name, len(run.seeds), run.num_params, run.steps, f"{np.mean(values):.{digits}f}", std, shown


def _show_tests(seeds: OverSeeds | None, examples: OverExamples, unit: float) -> None:
    rows, notes = [], ["Over seeds: no test; it needs two seeds or more of both runs (--num-seeds)."]
    if seeds:
        rows = [
            ("seeds: Welch's t", *_points(seeds.difference, seeds.interval, unit), format_p(seeds.welch_p)),
            (f"seeds: {'exact ' * seeds.exact}permutation", "", "", format_p(seeds.permutation_p)),
        ]
        notes = [
            "Over seeds: what new seeds would give, with the same training and test examples. With so few seeds the "
            f"smallest p-value of the permutation test is {format_p(seeds.smallest_p)}."
        ]
    rows.append(("examples: sign flips", *_points(examples.difference, examples.interval, unit), format_p(examples.p)))
    title = "B minus A, percentage points" if unit > 1 else "B minus A, loss"
    console.show_table(title, ("test", "difference", "95 % interval", "p"), rows)
    notes.append(
        "Over examples: what new test examples would give, with these trained weights. Two seeds of one model often "
        "differ here too, so this test alone does not show that one model is better."
    )
    console.say("\n".join([*notes, "No test says what another training set would give."]))


def _points(difference: float, interval: tuple[float, float], unit: float) -> tuple[str, str]:
    digits = 2 if unit > 1 else 4
    low, high = (f"{unit * end:+.{digits}f}" for end in interval)
    # Over seeds and over examples it is one difference, whose last bits differ: without `round`, so may its digits.
    return f"{round(unit * difference, 9):+.{digits + 1}f}", f"{low} to {high}"


def _in_words(difference: float, interval: tuple[float, float], unit: float) -> str:
    found, between = _points(difference, interval, unit)
    return f"{found} ({between}){' points' * (unit > 1)}"


def format_p(p: float | None) -> str:
    """A p-value in a few characters.

    Example:
      >>> format_p(0.03125), format_p(2.5e-7), format_p(None)
      ('0.0312', '2e-07', 'undefined')
    """
    if p is None:
        return "undefined"
    return f"{p:.4f}" if p >= 1e-4 else f"{p:.0e}" if p >= 1e-99 else "< 1e-99"
