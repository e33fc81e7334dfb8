"""The picture of reading orders: what it lays out, its size and its colours."""

import numpy as np
import pytest
from PIL import Image

from rowlstm_jax.analysis import plots
from rowlstm_jax.analysis.plots.orders import first_time, lay_out
from rowlstm_jax.tasks.orders import ORDERS, order_index

IMAGE = np.arange(28 * 28, dtype=np.uint16).reshape(28, 28)  # every pixel tells its position


def pixels(path) -> np.ndarray:
    """Returns a PNG as int [height, width, 3]."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def test_first_time_runs_from_0_to_1_and_is_missing_where_nothing_is_read():
    np.testing.assert_array_equal(
        first_time(np.array([[0, 1], [1, 5], [4, 0]]), (2, 3)), [[0, 0, np.nan], [np.nan, 1, 0.5]]
    )
    np.testing.assert_array_equal(first_time(np.array([[2]]), (1, 3)), [[np.nan, np.nan, 0]])


def test_a_step_of_several_pixels_is_a_column():
    [(values, time)] = lay_out(IMAGE, order_index("patches", 28, 28))
    assert values.shape == time.shape == (16, 49)
    assert values[:, 8].tolist() == [row * 28 + column for row in range(4, 8) for column in range(4, 8)]
    np.testing.assert_allclose(time[0], np.arange(49) / 48)


@pytest.mark.parametrize(("count", "width"), [(784, 112), (780, 112), (3, 1)])
def test_a_step_of_one_pixel_is_wrapped_into_lines(count, width):
    index = order_index("permuted_numpy_0", 28, 28)[:count]
    lines = lay_out(IMAGE, index)
    assert [values.shape for values, _ in lines] == [(1, width)] * 7
    values, time = (np.concatenate(parts, axis=1)[0] for parts in zip(*lines, strict=True))
    np.testing.assert_array_equal(values[:count], index[:, 0])
    np.testing.assert_allclose(time[:count], np.arange(count) / (count - 1))
    assert np.isnan(time[count:]).all()


@pytest.mark.parametrize(("count", "height"), [(1, 216), (2, 216), (3, 364), (8, 660)])
def test_there_are_two_orders_a_row(tmp_path, count, height):
    indices = {order: order_index(order, 28, 28) for order in list(ORDERS)[:count]}
    plots.orders(tmp_path / "orders.png", np.zeros((28, 28), np.uint8), indices)
    picture = pixels(tmp_path / "orders.png")
    assert picture.shape == (2 * height, 1800, 3)
    assert (picture[:, :20] == 255).all(), "something runs off the picture"
    assert (picture[:, -20:] == 255).all(), "something runs off the picture"


def test_colour_is_time_and_darkness_is_the_value(tmp_path):
    image = np.zeros((28, 28), np.uint8)
    image[:, 14:] = 255
    indices = {order: order_index(order, 28, 28) for order in ("rows", "columns")}
    plots.orders(tmp_path / "orders.png", image, indices)
    top, left, second = 2 * (32 + 22), 2 * 14, 2 * (14 + 416 + 40)
    picture = pixels(tmp_path / "orders.png")[top : top + 224]
    rows, rows_sequence = picture[:, left : left + 224], picture[:, left + 272 : left + 832]
    columns, columns_sequence = picture[:, second : second + 224], picture[:, second + 272 : second + 832]
    for dark in (rows[:, 112:], columns[:, 112:], rows_sequence[112:], columns_sequence[:, 280:]):
        assert (dark == 0).all()
    assert len(np.unique(rows[:, 0], axis=0)) == 28
    np.testing.assert_array_equal(rows[4::8, 0], rows_sequence[0, 10::20])
    np.testing.assert_array_equal(columns[0, 4:112:8], columns_sequence[0, 10:280:20])
    np.testing.assert_array_equal(rows[4:112:8, 0], columns[0, 4:112:8])


def test_a_line_follows_a_path_of_neighbours_only(tmp_path):
    index = {"snake": order_index("snake", 28, 28), "permuted": order_index("permuted_numpy_0", 28, 28)}
    plots.orders(tmp_path / "orders.png", np.zeros((28, 28), np.uint8), index)
    picture = pixels(tmp_path / "orders.png")[108:332].sum(axis=-1)
    snake, permuted = picture[:, 28:252], picture[:, 940:1164]
    assert (snake < 300).mean() > 0.05
    assert not (permuted < 300).any()
