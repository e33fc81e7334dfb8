"""The files of a run that grow: metrics.jsonl, and openings of the test set."""

import datetime
import hashlib
from pathlib import Path
from typing import IO

from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import from_first_process
from rowlstm_jax.runs.files import read_lines, require_there, sync, to_lines, write_text
from rowlstm_jax.runs.records import Record, is_number


class Journal:
    """The files of a run that grow; the first of several processes writes them.

    Args:
      directory: the folder of the run.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._recorded = hashlib.sha256()
        self._metrics: IO[str] | None = None

    def open(self, step: int) -> None:
        """Open the files, in the first process, to continue after `step`; records of later steps are removed."""
        kept = [record for record in self.records() if record["step"] <= step]
        metrics, text = self._directory / "metrics.jsonl", to_lines(kept)
        write_text(metrics, text)
        self._recorded = hashlib.sha256(text.encode())
        self._metrics = metrics.open("a")

    def close(self) -> None:
        """Close the files."""
        if self._metrics is not None:
            self._metrics.close()

    def log(self, step: int, record: Record) -> None:
        """Append a record to metrics.jsonl. May raise an OSError."""
        from_first_process(lambda: self._log(step, record))

    def sync(self) -> None:
        """Wait until metrics.jsonl is on the disk, in the first process. May raise an OSError."""
        if self._metrics is not None:
            sync(self._metrics)

    @property
    def recorded(self) -> str:
        """SHA-256 of metrics.jsonl so far, in the first process."""
        return self._recorded.hexdigest()

    def records(self) -> list[Record]:
        """The records of metrics.jsonl. Raises a UserError if a line is damaged, other than an unfinished last one."""
        path = self._directory / "metrics.jsonl"
        records = read_lines(path, "remove the line, or resume another run")
        for number, record in enumerate(records, 1):
            wrong = [name for name, value in record.items() if not is_number(value)]
            if wrong or type(record.get("step")) is not int:
                what = f"{wrong[0]!r} is no number" if wrong else "it has no step"
                raise UserError(f"{path} is damaged in line {number} ({what}); remove the line, or resume another run.")
        return records

    def open_test(self, selected_steps: list[int]) -> None:
        """Record that the test set is opened, for the weights of these steps: once, in an honest run."""

        def append() -> None:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            openings = [*self.test_openings(), {"time": now, "selected_steps": selected_steps}]
            write_text(self._directory / "test_openings.jsonl", to_lines(openings))

        from_first_process(append)

    def test_openings(self) -> list[Record]:
        """When the test set was opened, and for which weights. Raises a UserError if a line is damaged."""
        lost = "put it back from a copy, or start a new run: without it nobody knows how often the test set was opened"
        return read_lines(self._directory / "test_openings.jsonl", lost, whole=True)

    def _log(self, step: int, record: Record) -> None:
        if self._metrics is None:
            raise RuntimeError("open() comes before log()")
        require_there(self._directory)
        line = to_lines([{"step": step, **record}])
        self._metrics.write(line)
        self._metrics.flush()
        self._recorded.update(line.encode())
