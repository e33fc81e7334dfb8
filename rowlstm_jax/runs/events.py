"""Events for TensorBoard. The only import of tensorboardX."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path


class EventFile:
    """A new file of events in a folder, written at once.

    tensorboardX's `SummaryWriter` has a thread write it, and waits for that thread for ever once a full disk ended it.
    """

    def __init__(self, directory: Path):
        # Imported here: it costs 0.15 s that a mistake in the flags should not wait for. Where torch is installed it
        # would import that too, 1.5 s for nothing that is used here, unless torch seems absent.
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
        """Append an event that holds some scalars by name."""
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def close(self) -> None:
        """Write what has been buffered, and close the file."""
        self._writer.close()
