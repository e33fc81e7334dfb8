"""The three errors that end a run with one sentence. Standard library only."""


class UserError(Exception):
    """A mistake of the user, or a fault of their machine: one sentence that says what was wrong and what to do."""

    status = 2


class NonFiniteError(UserError):
    """The loss or its gradient stopped being finite."""

    status = 1


class InterruptedRun(Exception):  # noqa: N818, it is no error
    """A signal ended the run between two steps, after its state was saved; the message says how to go on."""

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum
