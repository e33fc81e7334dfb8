"""Training runs in this process, for the tests of what runs write."""

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

from rowlstm_jax.config import RunConfig
from rowlstm_jax.data import Splits
from rowlstm_jax.runs import Fitted, Run, RunFolder, fit
from rowlstm_jax.runs.journal import Journal
from rowlstm_jax.runs.records import Record


def train(run: Run, data: Splits) -> Fitted:
    with RunFolder(run) as folder:
        return fit(run, data, folder)


def journal(config: RunConfig) -> Journal:
    """What the run in --run-dir has written down."""
    assert config.run_dir is not None
    return Journal(config.run_dir)


@contextlib.contextmanager
def at_steps(*steps: int, action: Callable[[], object]) -> Iterator[None]:
    """Within the block, something happens right after a run has logged one of these steps."""
    log = Journal.log

    def log_and_act(self: Journal, step: int, record: Record) -> None:
        log(self, step, record)
        if step in steps:
            action()

    with mock.patch.object(Journal, "log", log_and_act):
        yield
