import json

import numpy as np
import pytest

from rowlstm_jax.config import UserError
from rowlstm_jax.files import read_lines, write_arrays, write_json


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
    assert read_lines(path) == []
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a\n{"a": 3}\n')
    with pytest.raises(UserError, match=r"lines\.jsonl is damaged"):
        read_lines(path)
