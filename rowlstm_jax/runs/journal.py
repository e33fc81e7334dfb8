"""The files of a run that grow: metrics.jsonl, TensorBoard events, and openings of the test set."""

import datetime
import hashlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from rowlstm_jax.errors import UserError
from rowlstm_jax.parallel import from_first_process
from rowlstm_jax.runs.files import read_lines, require_there, sync, to_lines, write_text
from rowlstm_jax.runs.records import Record, is_number


class EventFile:
    """A new file of TensorBoard events in a folder; each event is written at once.

    tensorboardX's `SummaryWriter` has a thread that writes. If a full disk ends this thread, the writer waits for ever.
    """

    def __init__(self, directory: Path):
        # Imported late, as it takes 0.15 s. It would import torch too, 1.5 s, unless torch seems not to be installed.
        torch = sys.modules.get("torch")
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
        try:
            from tensorboardX.event_file_writer import EventsWriter
        finally:
            del sys.modules["torch"]
            if torch is not None:
                sys.modules["torch"] = torch
        self._writer = EventsWriter(str(directory / "events"))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append an event with some numbers by name."""
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._writer.close()


class Journal:
    """The files of a run that grow; the first of several processes writes them.

    Args:
      directory: the folder of the run.
      seeds: S of them; a list of S values in a record is one value for each seed.
    """

    def __init__(self, directory: Path, seeds: range):
        self._directory, self._seeds = directory, seeds
        self._recorded = hashlib.sha256()
        self._metrics: IO[str] | None = None
        self._events: EventFile | None = None

    def open(self, step: int) -> None:
        """Open the files, in the first process, to continue after `step`; records of later steps are removed."""
        kept = [record for record in self.records() if record["step"] <= step]
        metrics, text = self._directory / "metrics.jsonl", to_lines(kept)
        write_text(metrics, text)
        self._recorded = hashlib.sha256(text.encode())
        self._metrics = metrics.open("a")
        # A killed process loses events that it had not flushed, so they are written anew from the records.
        for old in self._directory.glob("events.out.tfevents.*"):
            old.unlink()
        self._events = EventFile(self._directory)
        for record in kept:
            self._show(**record)

    def close(self) -> None:
        """Close the files."""
        for file in (self._metrics, self._events):
            if file is not None:
                file.close()

    def log(self, step: int, record: Record) -> None:
        """Append a record to metrics.jsonl and its numbers to the TensorBoard events. May raise an OSError."""
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
        self._show(step, **record)

    def _show(self, step: int, **record: Any) -> None:
        if self._events is None:
            return
        scalars = {name: value for name, value in record.items() if not isinstance(value, list)}
        for name, value in record.items():
            if isinstance(value, list) and len(value) == len(self._seeds) and not isinstance(value[0], list):
                of_seeds = zip(self._seeds, value, strict=True)
                scalars |= {f"{name}/seed{seed}": of_seed for seed, of_seed in of_seeds}
        self._events.add(step, {name: value for name, value in scalars.items() if value is not None})
