"""TensorBoard's files: numbers, flags and pictures, without PyTorch."""

import subprocess
import sys

import PIL.Image
from tensorboardX.proto.event_pb2 import Event

from rowlstm_jax.runs.events import EventFile


def read_events(path):
    """TensorBoard's records: length, its checksum, the event, its checksum."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event()
        event.ParseFromString(data[at + 12 : at + 12 + length])
        yield event
        at += 12 + length + 4


def test_writing_events_does_not_import_torch(tmp_path):
    """In a process of its own, where nothing else has imported it; a torch that raises stands in for the real one."""
    (tmp_path / "torch.py").write_text("raise AssertionError('imported')")
    program = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from rowlstm_jax.runs.events import EventFile
EventFile(Path({str(tmp_path)!r})).close()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_numbers_flags_and_pictures_are_written(tmp_path):
    PIL.Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    events = EventFile(tmp_path)
    events.add(3, {"loss": 0.5})
    events.add_flags({"seed": "0"}, {"test_accuracy": 0.75})
    events.add_picture(3, tmp_path / "x.png")
    events.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    values = [(event.step, value) for event in read_events(path) for value in event.summary.value]
    assert (values[0][0], values[0][1].tag, values[0][1].simple_value) == (3, "loss", 0.5)
    assert any(value.metadata.plugin_data.plugin_name == "hparams" for _, value in values)
    assert [value.simple_value for _, value in values if value.tag == "test_accuracy"] == [0.75]
    assert [(value.image.width, value.image.height) for _, value in values if value.tag == "plots/x"] == [(30, 20)]
