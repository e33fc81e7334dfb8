"""What follows a run from outside: callbacks, called in the first process between steps, never inside jit."""

import contextlib
import contextvars
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from rowlstm_jax.config import RunConfig, to_json
from rowlstm_jax.parallel import is_first_process
from rowlstm_jax.runs import console
from rowlstm_jax.runs.records import Record

_ADDED: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar("callbacks", default=())


class Stop(Exception):  # noqa: N818, it is no error
    """A callback raises it to end the training after the present step: the state is saved, and `fit` returns."""


class Callback:
    """The base of what follows a run: a method that is not overridden does nothing.

    Any object with some of these methods will do too. In the first of several processes they are called.

    An error in one is one warning; that callback is not called again, and the run goes on.
    """

    def on_begin(self, directory: Path, config: Mapping[str, Any], records: list[Record]) -> None:
        """The run begins or is resumed: its folder, its flags, and the records so far, of steps that stay."""

    def on_record(self, record: Record) -> None:
        """A line of metrics.jsonl with the training since the last one; "step" is its step."""

    def on_evaluation(self, record: Record) -> None:
        """A line of metrics.jsonl with an evaluation on the validation examples."""

    def on_end(self, summary: Mapping[str, Any]) -> None:
        """The run has finished: the content of summary.json; pictures are drawn."""

    def close(self) -> None:
        """The run's folder is left: after `on_end`, or after an error or a signal."""


@contextlib.contextmanager
def following(*callbacks: Any) -> Iterator[None]:
    """Add callbacks to every run that is trained within the block, such as by the `main` of a script."""
    token = _ADDED.set((*_ADDED.get(), *callbacks))
    try:
        yield
    finally:
        _ADDED.reset(token)


class Callbacks:
    """The callbacks of a run.

    Attributes:
      stopped: whether one has raised `Stop`.
    """

    def __init__(self):
        self._all: list[Any] = [*_ADDED.get()]
        self.stopped = False

    def add(self, callbacks: Iterable[Any]) -> None:
        """Add some, in all processes; they are called in the first one."""
        self._all += [one for one in callbacks if all(one is not other for other in self._all)]

    def begin(self, directory: Path, config: RunConfig, records: list[Record]) -> None:
        """Call `on_begin`."""
        self._call("on_begin", directory, to_json(config), records)

    def log(self, step: int, record: Record) -> None:
        """Call `on_record` and `on_evaluation`, as far as the record has values of them."""
        line = {"step": step, **record}
        if "loss" in record:
            self._call("on_record", line)
        if "validation_loss" in record:
            self._call("on_evaluation", line)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Call `on_end`."""
        self._call("on_end", summary)

    def close(self) -> None:
        """Call `close`."""
        self._call("close")

    def _call(self, name: str, *values: Any) -> None:
        if not is_first_process():
            return
        for callback in [*self._all]:
            try:
                with jax.transfer_guard("allow"):
                    getattr(callback, name, lambda *_: None)(*values)
            except Stop:
                self.stopped = True
            except Exception as error:
                self._all = [other for other in self._all if other is not callback]
                reason = f"{type(error).__name__}: {error}".replace("\n", " ")
                console.warn(f"{type(callback).__name__}.{name} failed ({reason}); it is not called again.")
