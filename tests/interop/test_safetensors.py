"""safetensors files: what is written comes back, other readers understand it, and faults have a sentence."""

import json
import struct
import sys

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.errors import UserError
from rowlstm_jax.interop import from_torch, load_safetensors, save_safetensors, to_torch
from tests.interop.networks import network


@pytest.fixture(autouse=True)
def installed(request):
    if "no_package" not in request.fixturenames:
        pytest.importorskip("safetensors")


@pytest.fixture
def no_package(monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises an ImportError


def test_the_parameters_and_the_metadata_of_a_model_come_back(tmp_path):
    _, params = network()
    save_safetensors(tmp_path / "model.safetensors", params, {"experiment": "mnist_rows", "seed": "0"})
    loaded, metadata = load_safetensors(tmp_path / "model.safetensors")
    chex.assert_trees_all_equal(loaded, params)
    assert metadata == {"experiment": "mnist_rows", "seed": "0"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_state_dict_keeps_its_flat_names(tmp_path):
    model, params = network("gru")
    save_safetensors(tmp_path / "x", to_torch(model, params))
    state, metadata = load_safetensors(str(tmp_path / "x"))
    assert "rnn.weight_hh_l1_reverse" in state
    assert metadata == {}
    chex.assert_trees_all_equal(from_torch(model, state), params)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "uint32", "bool", ">f4"])
def test_dtypes_scalars_and_empty_arrays_come_back(tmp_path, dtype):
    dtype = jnp.dtype(dtype) if dtype == "bfloat16" else np.dtype(dtype)
    arrays = {
        "a": np.array([0, 1, 1]).astype(dtype),
        "scalar": np.array(1).astype(dtype),
        "no": np.zeros((0, 2), dtype),
    }
    save_safetensors(tmp_path / "x", arrays)
    loaded, _ = load_safetensors(tmp_path / "x")
    assert {array.dtype for array in loaded.values()} == {dtype.newbyteorder("=")}
    chex.assert_trees_all_equal(loaded, {name: array.astype(array.dtype) for name, array in arrays.items()})
    assert all(array.flags.writeable for array in loaded.values())


def test_the_file_is_what_the_format_says(tmp_path):
    """Eight bytes with the length of a JSON header, then the arrays row by row, also of a transposed one."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    save_safetensors(tmp_path / "x", {"layer": {"kernel": array}}, {"note": "text"})
    contents = (tmp_path / "x").read_bytes()
    (length,) = struct.unpack("<Q", contents[:8])
    header = json.loads(contents[8 : 8 + length])
    assert header == {
        "__metadata__": {"note": "text"},
        "layer/kernel": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]},
    }
    assert np.frombuffer(contents[8 + length :], np.float32).tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(
    ("params", "metadata", "sentence"),
    [
        ({"a/b": np.ones(1)}, {}, r"^'a/b' can't be the name of an array; it must be a str without '/'\.$"),
        ({"": np.ones(1)}, {}, "^'' can't be the name"),
        ({"a": {0: np.ones(1)}}, {}, "^0 can't be the name"),
        ({"a": {"b": "text"}}, {}, r"^a/b is <U4; safetensors files hold bfloat16, bool, "),
        ({"a": np.ones(1)}, {"seed": 0}, "^metadata holds 'seed': 0; both must be a str"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_and_the_old_file_stays(tmp_path, params, metadata, sentence):
    (tmp_path / "x").write_text("old")
    with pytest.raises(ValueError, match=sentence):
        save_safetensors(tmp_path / "x", params, metadata)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"lacking/x can't be written: No such file or directory\.$"):
        save_safetensors(tmp_path / "lacking" / "x", {"a": np.ones(1)})


def test_a_missing_or_damaged_file_is_named(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(UserError, match=r"x can't be read as a safetensors file: .*No such file"):
        load_safetensors(path)
    save_safetensors(path, {"a": np.ones(5)})
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole + b"0", whole[8:], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="x can't be read as a safetensors file: "):
            load_safetensors(path)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_names_that_are_no_tree_are_refused(tmp_path, names):
    from safetensors.numpy import save_file

    save_file({name: np.ones(1) for name in names}, tmp_path / "x")
    with pytest.raises(UserError, match=r"x has an array a(/b)? and another one below it"):
        load_safetensors(tmp_path / "x")


def test_without_the_package_a_sentence_says_how_to_install_it(tmp_path, no_package):
    for use in (lambda: save_safetensors(tmp_path / "x", {}), lambda: load_safetensors(tmp_path / "x")):
        with pytest.raises(UserError, match=r"install it with: pip install safetensors$"):
            use()
