"""Files of TensorBoard events. The only import of tensorboardX."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


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
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step, Summary(value=scalars))

    def add_flags(self, flags: Mapping[str, str], results: Mapping[str, float]) -> None:
        """Append the flags and results of a run, for the page HPARAMS."""
        from tensorboardX.summary import hparams

        for summary in hparams(dict(flags), dict(results)):
            self._write(0, summary)
        self.add(0, results)

    def add_picture(self, step: int, path: Path) -> None:
        """Append a PNG, for the page IMAGES."""
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        content = path.read_bytes()
        width, height = np.frombuffer(content[16:24], ">u4").tolist()  # a PNG begins with them
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        self._write(step, Summary(value=[Summary.Value(tag=f"plots/{path.stem}", image=image)]))

    def _write(self, step: int, summary: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._writer.close()
