"""What a benchmark asks of a system."""

from typing import Protocol, runtime_checkable


class UnavailableError(Exception):
    """A system can't be timed here; the message is the reason, for its row of the table."""


@runtime_checkable
class Trainer(Protocol):
    """A classifier, its optimiser and its batch, in the hands of one library."""

    def loss(self) -> float:
        """The mean cross-entropy of the batch with the present weights."""
        ...

    def steps(self, count: int) -> None:
        """Take so many training steps on the batch, and return when they are done."""
        ...
