import json
import os
import zipfile

import numpy as np
import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.runs.files import read_arrays, read_json, read_lines, require_inside, write_arrays, write_json


def test_what_is_written_is_read_again_and_leaves_nothing_beside_it(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1.5, None]}
    write_arrays(tmp_path / "c.npz", {"d/e": np.arange(3)})
    with np.load(tmp_path / "c.npz", allow_pickle=False) as arrays:
        assert arrays["d/e"].tolist() == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "c.npz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "a.json", {"object": np.array([{}], object)})
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_an_unfinished_last_line_is_no_object_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert read_lines(path, "start again") == []
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_lines(path, "start again") == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a\n{"a": 3}\n')
    with pytest.raises(UserError, match=r"lines\.jsonl is damaged"):
        read_lines(path, "start again")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]\n", r"damaged in line 2 \(it is no JSON object\)"),
        (b"\xff\n", r"damaged in line 2 \('utf-8' codec"),
        (b"[" * 200_000 + b"\n", r"damaged in line 2 \(maximum recursion"),
        (b"9" * 5_000 + b"\n", r"damaged in line 2 \(Exceeds the limit"),
    ],
)
def test_a_line_that_is_no_object_is_named(tmp_path, content, message):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' + content)
    with pytest.raises(UserError, match=message):
        read_lines(path, "start again")


def test_lines_after_a_power_cut(tmp_path):
    """A file system may leave zeros where the last line was to be."""
    (tmp_path / "lines.jsonl").write_bytes(b'{"a": 1}\n' + bytes(4096))
    assert read_lines(tmp_path / "lines.jsonl", "start again") == [{"a": 1}]


def sparse(path):
    """A file of 5 GB that takes no room."""
    with path.open("wb") as file:
        file.truncate(5 * 10**9)


NO_FILES = {
    "is missing": lambda path: None,
    r"5,000,000,000 bytes, more than": sparse,
    r"it is no file": os.mkfifo,
    r"it is no file ": lambda path: path.mkdir(),
    r"it is no file  ": lambda path: path.symlink_to("/dev/zero"),
    r"Too many levels|Symlink loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("message", NO_FILES)
def test_what_is_no_file_or_too_large_is_not_read(tmp_path, message):
    path = tmp_path / "file"
    NO_FILES[message](path)
    for read in (read_json, read_arrays):
        with pytest.raises(UserError, match=rf"file (can't be read \(.*)?({message.strip()}).*; start again\.$"):
            read(path, "start again")
    if message == "is missing":
        assert read_lines(path, "start again") == []
        with pytest.raises(UserError, match=r"^Not there\.$"):
            read_json(path, "start again", "Not there.")
    else:
        with pytest.raises(UserError, match=rf"can't be read \(.*{message.strip()}"):
            read_lines(path, "start again")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can't be read"),
        (b'{"a": 1', "can't be read"),
        (b"\x00\xff", "can't be read .*codec"),
        (b'{"a":' * 200_000, "can't be read .*recursion"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "can't be read .*4300 digits"),
        (b'{"a": NaN}', "can't be read .*NaN is no JSON"),
        (b"[1]", "is no JSON object"),
    ],
)
def test_what_is_no_json_object_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json {message}.*; start again\.$"):
        read_json(tmp_path / "a.json", "start again")


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path):
    write_arrays(tmp_path / "a.npz", {"zeros": np.zeros(1_000_000)})
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(UserError, match=r"it unpacks to 8,000,128 bytes, more than 10,000\); start again"):
        read_arrays(tmp_path / "a.npz", "start again", largest=10_000)
    assert read_arrays(tmp_path / "a.npz", "")["zeros"].nbytes == 8_000_000


@pytest.mark.parametrize(
    "shape", ["(1099511627776,)", "(3,)", "(-1,)", f"({10**30}, 0, 1)", "(2, 9223372036854775807)"]
)
def test_an_array_that_says_it_is_larger_than_it_is(tmp_path, shape):
    """NumPy makes room for what the header says before it reads on."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little") + header + bytes(16))
    with pytest.raises(UserError, match=r"a\.npy says that it is float64 .* and has another size"):
        read_arrays(tmp_path / "a.npz", "start again")


def test_a_damaged_byte_of_an_archive_never_changes_an_array(tmp_path):
    """It may hide one: who reads an archive knows what must be in it."""
    path, arrays = tmp_path / "a.npz", {"a/b": np.arange(5), "c": np.float32([[1.5, 2.5]])}
    write_arrays(path, arrays)
    content, noticed = path.read_bytes(), 0
    for position, byte in enumerate(content):
        path.write_bytes(content[:position] + bytes([byte ^ 1 << position % 8]) + content[position + 1 :])
        try:
            found = read_arrays(path, "start again")
        except UserError:
            noticed += 1
        else:
            for name, array in found.items():
                np.testing.assert_array_equal(array, arrays[name], strict=True)
    assert noticed > len(content) / 2


def test_links_may_lie_in_a_run_and_not_lead_out_of_it(tmp_path):
    run = tmp_path / "run"
    (run / "plots").mkdir(parents=True)
    (run / "newest").symlink_to("plots")
    (run / "plots" / "back").symlink_to(run)
    require_inside(run)
    for place, target in (("plots/a.png", "/etc/passwd"), ("checkpoints", ".."), ("summary.json", tmp_path / "absent")):
        (run / place).symlink_to(target)
        with pytest.raises(UserError, match=rf"run/{place} is a link that leads out of the run's folder; remove it"):
            require_inside(run)
        (run / place).unlink()
    (run / "secret").symlink_to("/proc/1/cwd/a")  # where others than root may not look
    with pytest.raises(UserError, match="run/secret is a link"):
        require_inside(run)
    (run / "secret").unlink()
    (tmp_path / "run-2").mkdir()
    (run / "sibling").symlink_to(tmp_path / "run-2")
    with pytest.raises(UserError, match="run/sibling is a link"):
        require_inside(run)
