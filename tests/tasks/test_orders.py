"""How images are read: every order against its definition and its golden digest."""

import functools

import chex
import jax
import numpy as np
import pytest

from rowlstm_jax.tasks.orders import ORDERS, order_digest, order_index, read, require_orders
from rowlstm_jax.tasks.preprocessing import scale

# T, F and the SHA-256 of each order of 28 x 28 pixels. A digest that changes makes published numbers incomparable.
GOLDEN = {
    "rows": (28, 28, "b20436ab18a5112862edbf252c215331f273045a116d89dcb253b93da1e3db09"),
    "columns": (28, 28, "e2328a9cfc6e075a05523c0ecfd062b200e10ae890015b5dedc08557c3f07ee0"),
    "rows_both_ways": (28, 56, "c3ae25342330d8ee7298610edae686deb69f9319951a7a6e9a2bdd7d249fe814"),
    "patches": (49, 16, "1e220928386cffd38aa52add0839b2ad36812ccdafb5f3e17ce28d3523f2f273"),
    "pixels": (784, 1, "ed015ef867a5e39a05a383df2c670ba4ee56ec03ec3ee11e04e1479aada72578"),
    "snake": (784, 1, "727812b4e51ad369d947a0e80ce5475061d0d49fc3ad4112319c2e582115557d"),
    "hilbert": (784, 1, "7e3bca5e74015c939ac22585fa647b1ff6301d0774e16489eab1ceb5165de2c2"),
    "permuted_bit_reversal": (784, 1, "6241fce301f4ee208c9dd49723b7043c33a423493b48f20b9f8c33159be09cfb"),
    "permuted_numpy_92916": (784, 1, "25b09d4a81a98062b3c824d7529f837e590020fef67d474bbe56f570cf49ceb5"),
    "permuted_numpy_0": (784, 1, "fb09ba172dceb86e00b5900b7f395db18196f6750430405ed7c81d6872b324e1"),
    "permuted_torch_5544": (784, 1, "7694181fa9f5c7776eb633c68ca88a82c1d2899f099940d15d0d359355a31587"),
    "permuted_torch_12008": (784, 1, "6b164a3be6042f77c7bc910bc63d5c495471eda903b64ffd524b2c5a7a22e551"),
}
# state-spaces/s4, hilbert_permutation(32), as int32 [1024, 1].
S4_HILBERT_32 = "e4eb012bb793b3b28da1539ac5d11a673995ba1cb7047e437bc248d97e290134"


@pytest.fixture
def add_order(monkeypatch):
    """Adds an order for the test."""
    return functools.partial(monkeypatch.setitem, ORDERS)


def images_of(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, rows, columns), dtype=np.uint8)


def gathers(function, *arguments) -> bool:
    return "gather" in str(jax.make_jaxpr(function)(*arguments))


def test_scale_maps_0_and_255_to_0_and_1_exactly():
    pixels = np.arange(256, dtype=np.uint8)
    scaled = jax.jit(scale)(pixels)
    assert scaled.dtype == np.float32
    assert (scaled[0], scaled[255]) == (0.0, 1.0)
    np.testing.assert_allclose(scaled, np.arange(256) / 255, rtol=1e-7)


def test_every_order_has_its_golden_digest():
    indices = {order: order_index(order, 28, 28) for order in ORDERS}
    assert {order: (*index.shape, order_digest(index)) for order, index in indices.items()} == GOLDEN
    assert order_digest(order_index("hilbert", 32, 32)) == S4_HILBERT_32


def test_digest_tells_shapes_apart_and_does_not_depend_on_the_integer_type():
    rows, pixels = order_index("rows", 4, 4), order_index("pixels", 4, 4)
    assert order_digest(rows) != order_digest(pixels)
    assert order_digest(rows) == order_digest(rows.astype(">i8"))


@pytest.mark.parametrize("order", ORDERS)
def test_step_t_reads_the_pixels_of_index_t_under_jit(order):
    images, index = images_of(28, 28), order_index(order, 28, 28)
    sequences = jax.jit(functools.partial(read, index=index))(images)
    chex.assert_shape(sequences, (3, *index.shape))
    np.testing.assert_array_equal(sequences, [[[image.flat[at] for at in step] for step in index] for image in images])
    assert sequences.dtype == np.uint8


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 7), (7, 5), (1, 9), (33, 2), (32, 32)])
def test_orders_of_any_size_read_every_pixel_equally_often(rows, columns):
    times = {"rows": 1, "columns": 1, "rows_both_ways": 2, "pixels": 1, "snake": 1, "hilbert": 1}
    times["permuted_bit_reversal"] = 1
    counts = {order: np.bincount(order_index(order, rows, columns).ravel()) for order in times}
    chex.assert_trees_all_equal(counts, {order: np.full(rows * columns, count) for order, count in times.items()})


def test_images_that_are_not_square_are_read():
    images = images_of(5, 7)
    np.testing.assert_array_equal(read(images, order_index("columns", 5, 7)), images.swapaxes(1, 2))
    both_ways = np.concatenate([images, images[:, ::-1]], axis=2)
    np.testing.assert_array_equal(read(images, order_index("rows_both_ways", 5, 7)), both_ways)


def test_small_orders_are_what_they_say():
    written_out = {
        ("rows", 2, 3): [[0, 1, 2], [3, 4, 5]],
        ("columns", 2, 3): [[0, 3], [1, 4], [2, 5]],
        ("rows_both_ways", 2, 3): [[0, 1, 2, 3, 4, 5], [3, 4, 5, 0, 1, 2]],
        ("pixels", 2, 2): [[0], [1], [2], [3]],
        ("snake", 3, 2): [[0], [1], [3], [2], [4], [5]],
        ("hilbert", 2, 2): [[0], [1], [3], [2]],
        ("hilbert", 2, 3): [[0], [3], [4], [1], [2], [5]],
    }
    assert {key: order_index(*key).tolist() for key in written_out} == written_out
    patches = order_index("patches", 8, 12)
    assert patches.shape == (6, 16)
    assert patches[4].tolist() == [row * 12 + column for row in range(4, 8) for column in range(4, 8)]


@pytest.mark.parametrize(("order", "side"), [("snake", 28), ("hilbert", 32)])
def test_a_path_takes_steps_to_neighbours_only(order, side):
    row, column = np.divmod(order_index(order, side, side)[:, 0], side)
    assert set(np.abs(np.diff(row)) + np.abs(np.diff(column))) == {1}


def test_rows_and_pixels_are_a_reshape_and_columns_a_transpose():
    images = images_of(28, 28)
    found = {order for order in ORDERS if gathers(functools.partial(read, index=order_index(order, 28, 28)), images)}
    assert set(ORDERS) - found == {"rows", "columns", "pixels"}


def test_gradient_of_a_read_counts_how_often_each_pixel_is_read():
    index = order_index("rows_both_ways", 28, 28)
    gradient = jax.grad(lambda images: read(images, index).sum())(images_of(28, 28).astype(np.float32))
    np.testing.assert_array_equal(gradient, np.full((3, 28, 28), 2.0))


def test_an_index_is_cached_read_only_int32():
    index = order_index("columns", 28, 28)
    assert index is order_index("columns", 28, 28)
    assert index.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        index[0, 0] = 1


def test_an_order_of_ones_own_is_a_function_and_a_name(add_order):
    add_order("upwards", lambda rows, columns: np.arange(rows * columns).reshape(rows, columns)[::-1])
    images = images_of(5, 7)
    np.testing.assert_array_equal(read(images, order_index("upwards", 5, 7)), images[:, ::-1])
    add_order("upwards", lambda rows, columns: np.arange(rows * columns).reshape(rows, columns))
    np.testing.assert_array_equal(read(images, order_index("upwards", 5, 7)), images)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([[0, 35]], r"^order 'mine' reads positions 0 to 35; the image has 0 to 34"),
        ([[-1, 3]], r"reads positions -1 to 3"),
        ([0, 1, 2], r"is int64\[3\]; positions are whole numbers \[T, F\]"),
        ([[0.0, 1.0]], r"is float64\[1, 2\]; positions are whole numbers"),
        ([[]], r"positions are whole numbers \[T, F\]"),
    ],
)
def test_an_order_with_other_than_positions_in_the_image_is_refused(add_order, positions, message):
    add_order("mine", lambda rows, columns: np.array(positions))
    with pytest.raises(ValueError, match=message):
        order_index("mine", 5, 7)


def test_an_order_that_does_not_exist_or_fit_is_refused():
    with pytest.raises(ValueError, match=r"^order is 'spiral'; choose one of rows, columns, .*permuted_torch_12008"):
        order_index("spiral", 28, 28)
    with pytest.raises(ValueError, match=r"^order is 'patches'; 4 x 4 pixels do not tile an image of 28 x 30"):
        order_index("patches", 28, 30)
    for order in ("permuted_numpy_92916", "permuted_numpy_0", "permuted_torch_5544", "permuted_torch_12008"):
        with pytest.raises(ValueError, match=r"published for 784 pixels, not for an image of 32 x 32"):
            order_index(order, 32, 32)


def test_names_of_orders_are_checked():
    require_orders(tuple(ORDERS))
    with pytest.raises(ValueError, match=r"^orders names 'spiral'; choose from rows, columns, .*permuted_torch_12008"):
        require_orders(["rows", "spiral"])
    with pytest.raises(ValueError, match=r"^orders is empty; choose from rows, "):
        require_orders([])


def test_read_refuses_an_index_of_another_image():
    with pytest.raises(ValueError, match=r"^index reads positions 0 to 783; the image has 0 to 34"):
        read(images_of(5, 7), order_index("pixels", 28, 28))


def test_an_array_in_the_place_of_an_order_is_named(monkeypatch):
    monkeypatch.setitem(ORDERS, "array", np.arange(784).reshape(28, 28))
    with pytest.raises(ValueError, match="order is 'array', which is no function"):
        order_index("array", 28, 28)


@pytest.mark.parametrize("order", ["rows", "columns", "pixels", "snake", "patches_2", "patches_4x3", "rows_both_ways"])
def test_a_pixel_is_read_with_all_its_channels(order):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    index, grey = order_index(order, 4, 6, 3), order_index(order, 4, 6)
    assert index.shape == (len(grey), 3 * grey.shape[1])
    found = np.asarray(jax.jit(functools.partial(read, index=index))(pictures))
    for channel in range(3):
        np.testing.assert_array_equal(found[:, :, channel::3], read(pictures[..., channel], grey))
    assert order_digest(index) != order_digest(grey)


def test_patches_of_any_size_tile_the_image():
    index = order_index("patches_2x3", 4, 6)
    assert index.shape == (4, 6)
    assert index[1].tolist() == [3, 4, 5, 9, 10, 11]
    assert order_index("patches_2", 4, 6).shape == (6, 4)
    assert order_index("patches_4", 8, 8).tolist() == order_index("patches", 8, 8).tolist()
    for order in ("patches_3", "patches_2x4"):
        with pytest.raises(ValueError, match="do not tile an image of 4 x 6"):
            order_index(order, 4, 6)
    for order in ("patches_0", "patches_2x", "patches_"):
        with pytest.raises(ValueError, match="choose one of"):
            order_index(order, 4, 6)


def test_the_digest_is_that_of_the_real_shape():
    digests = {order_digest(order_index("rows", *shape)) for shape in ((28, 28), (32, 32), (32, 32, 3), (96, 32))}
    assert len(digests) == 4
