"""Arrays that come in: how they become NumPy's, and what is said of wrong ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from rowlstm_jax.interop.arrays import as_numpy, checked, required

FLOAT = np.dtype(np.float32)
GOOD = {"kernel": np.zeros((4, 2), FLOAT), "bias": np.zeros(2, FLOAT)}
EXPECTED = {"kernel": ((4, 2), FLOAT), "bias": ((2,), FLOAT)}


class Tensor:
    """What a tensor of PyTorch offers; it can't be made an array before it is detached and on the CPU."""

    def __init__(self, values, dtype="torch.float32", steps=()):
        self.values, self.dtype, self.steps = np.asarray(values, np.float32), dtype, steps

    def detach(self):
        return Tensor(self.values, self.dtype, (*self.steps, "detach"))

    def cpu(self):
        return Tensor(self.values, self.dtype, (*self.steps, "cpu"))

    def float(self):
        return Tensor(self.values, "torch.float32", self.steps)

    def numpy(self):
        assert self.steps == ("detach", "cpu")
        assert self.dtype != "torch.bfloat16", "NumPy has no bfloat16"
        return self.values


@pytest.mark.parametrize("make", [np.asarray, jnp.asarray, list, Tensor])
def test_arrays_of_many_libraries_become_numpy_arrays(make):
    array = as_numpy(make(np.array([1.5, -2], np.float32)))
    assert type(array) is np.ndarray
    np.testing.assert_array_equal(array, [1.5, -2])


def test_a_bfloat16_tensor_keeps_its_dtype():
    array = as_numpy(Tensor([1.5, -2], "torch.bfloat16"))
    assert array.dtype == jnp.bfloat16
    np.testing.assert_array_equal(array.astype(np.float32), [1.5, -2])


def test_good_arrays_come_in_the_expected_order():
    reversed_order = dict(reversed(GOOD.items()))
    assert list(checked(reversed_order, EXPECTED)) == list(EXPECTED)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bias": None}, r"^bias is missing; the arrays are kernel\.$"),
        ({"bias": None, "kernel": None}, r"^kernel is missing; the arrays are none\.$"),
        ({"scale": np.zeros(3)}, r"^scale is float64 \[3\], but this model has no such array\.$"),
        ({"bias": np.zeros(3, FLOAT)}, r"^bias is float32 \[3\]; expected float32 \[2\]\.$"),
        ({"bias": np.zeros(3, FLOAT), "kernel": np.zeros((4, 3), FLOAT)}, "^bias is "),  # a bias says more
        ({"bias": np.zeros(2, np.int32)}, r"^bias is int32 \[2\]; expected float32 \[2\]\.$"),
        ({"bias": np.zeros((5, 2), FLOAT)}, r"^bias is float32 \[5, 2\]; .* several seeds, \[S, \.\.\.\], choose"),
        ({"bias": np.zeros((5, 3), FLOAT)}, r"expected float32 \[2\]\.$"),
        ({"bias": np.zeros((), FLOAT)}, r"^bias is float32 \[\]; expected float32 \[2\]\.$"),
    ],
)
def test_a_wrong_array_is_named_with_what_it_is_and_what_was_expected(changes, sentence):
    arrays = {name: array for name, array in (GOOD | changes).items() if array is not None}
    with pytest.raises(ValueError, match=sentence):
        checked(arrays, EXPECTED)


def test_required_gives_the_array():
    assert required(GOOD, "bias") is GOOD["bias"]
