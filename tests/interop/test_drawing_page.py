"""The page on which one draws: what the model sees of it, and who gets an answer."""

import functools
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from rowlstm_jax.analysis import TrainedModel
from rowlstm_jax.interop.drawing_page import NONCE, POLICY, SIDE, DrawingServer
from rowlstm_jax.interop.pictures import as_mnist
from rowlstm_jax.models import SequenceClassifier
from rowlstm_jax.models.cells import BasicLSTMCell
from rowlstm_jax.tasks import Preprocessing, order_index, read


def make(shape: tuple[int, ...] = (28, 28), order: str = "rows", bidirectional: bool = False) -> TrainedModel:
    module = SequenceClassifier(BasicLSTMCell(5), 3, bidirectional=bidirectional)
    index = order_index(order, *shape)
    params = module.init(jax.random.key(3), jnp.zeros((1, *index.shape)))["params"]
    weights = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), params)
    how = Preprocessing(functools.partial(read, index=index))
    return TrainedModel(module, weights, (3, 4), how, shape, True, class_names=("a", "<b>", "c"))


class Serving:
    """A server in a thread, and requests to it."""

    def __init__(self, model: TrainedModel, seed: int | None = None, like_mnist: bool = False):
        self.server = DrawingServer(model, seed, like_mnist=like_mnist)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.host = f"127.0.0.1:{self.server.server_port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str, str]:
        """Status, body and policy; headers are those of the page, unless given."""
        connection = HTTPConnection(self.host, timeout=60)
        given = {"Host": self.host, "Origin": f"http://{headers.get('Host', self.host)}"} | headers
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, answer.headers["Content-Security-Policy"]

    def see(self, drawing: np.ndarray) -> dict:
        status, text, _ = self.ask("POST", "/see", drawing.tobytes())
        assert status == 200, text
        return json.loads(text)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    found = Serving(make(), like_mnist=True)
    yield found
    found.close()


def a_drawing() -> np.ndarray:
    drawing = np.zeros((SIDE, SIDE), np.uint8)
    drawing[50:70, 60:200] = 255
    drawing[50:230, 180:200] = 255
    return drawing


def test_what_is_seen_is_what_the_model_knows_after_each_step(serving):
    seen = serving.see(a_drawing())
    picture = as_mnist(a_drawing())
    np.testing.assert_array_equal(seen["read"], picture)
    np.testing.assert_array_equal(np.float32(seen["steps"]), make().over_time(picture[None])[0])
    np.testing.assert_array_equal(seen["pixels"], np.arange(28 * 28).reshape(28, 28))
    assert seen["classes"] == ["a", "<b>", "c"]


@pytest.mark.parametrize(
    ("shape", "order", "bidirectional"),
    [((4, 6), "columns", False), ((4, 6, 3), "snake", False), ((4, 6, 3), "rows", True)],
)
def test_any_size_channels_order_and_seed(shape, order, bidirectional):
    model = make(shape, order, bidirectional)
    serving = Serving(model, seed=4)
    try:
        seen = serving.see(a_drawing())
    finally:
        serving.close()
    grey = np.asarray(PIL.Image.fromarray(a_drawing()).resize((6, 4), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(seen["read"], grey)
    picture = np.broadcast_to(grey.reshape(4, 6, *[1] * (len(shape) - 2)), shape)[None]
    known = model.predict(picture, 4) if bidirectional else model.over_time(picture, 4)[0]
    np.testing.assert_array_equal(np.float32(seen["steps"]), known)
    channels = 3 if len(shape) == 3 else 1
    np.testing.assert_array_equal(seen["pixels"], order_index(order, *shape) // channels)


def test_requests_at_the_same_time_get_the_answers_of_their_drawings(serving):
    drawings = [np.roll(a_drawing(), 9 * number, axis=1) // (1 + number % 3) for number in range(12)]
    alone, found = [serving.see(drawing) for drawing in drawings], {}
    threads = [
        threading.Thread(target=lambda n=number: found.update({n: serving.see(drawings[n])})) for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(12)] == alone


def test_the_page_is_for_both_names_and_may_load_nothing_else(serving):
    port = serving.server.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        status, page, policy = serving.ask("GET", "/", Host=host)
        assert (status, policy) == (200, POLICY)
        assert f"default-src 'nonce-{NONCE}'" in policy
        assert page.count(f'nonce="{NONCE}"') == 2
        assert "http" not in page
        assert serving.ask("POST", "/see", a_drawing().tobytes(), Host=host)[0] == 200
    assert serving.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "sentence"),
    [
        ("GET", "/", b"", {"Host": "evil.example"}, "Only the page itself"),
        ("GET", "/", b"", {"Host": "127.0.0.1"}, "Only the page itself"),
        ("GET", "/", b"", {"Host": "127.0.0.1:1"}, "Only the page itself"),
        ("POST", "/see", None, {"Origin": "http://evil.example"}, "Only the page itself"),
        ("POST", "/see", None, {"Origin": "null"}, "Only the page itself"),
        ("POST", "/see", None, {"Host": "evil.example"}, "Only the page itself"),
        ("POST", "/see", b"", {}, "There is only POST /see"),
        ("POST", "/see", b"x" * (SIDE**2 - 1), {}, "There is only POST /see"),
        ("POST", "/see", b"", {"Content-Length": str(10**12)}, "There is only POST /see"),
        ("POST", "/see", b"", {"Content-Length": "-1"}, "There is only POST /see"),
        ("POST", "/see", b"", {"Content-Length": "many"}, "There is only POST /see"),
        ("POST", "/", None, {}, "There is only POST /see"),
        ("GET", "/../../etc/passwd", b"", {}, "There is only POST /see"),
        ("DELETE", "/see", None, {}, "There is only POST /see"),
        ("POST", "/see", bytes(SIDE**2), {}, "The picture is of one grey"),
    ],
)
def test_other_requests_get_a_sentence(serving, capfd, method, path, body, headers, sentence):
    body = a_drawing().tobytes() if body is None else body
    status, text, policy = serving.ask(method, path, body, **headers)
    assert (status, policy) == (400, POLICY)
    assert json.loads(text)["error"].startswith(sentence)
    assert capfd.readouterr().err == ""


def test_what_is_no_request_and_who_goes_away_do_no_harm(serving, capfd):
    for sent in (
        b"",
        b"\0\xff garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST /see HTTP/1.1\r\nContent-Length: 78400\r\n\r\nx",
    ):
        with socket.create_connection(("127.0.0.1", serving.server.server_port)) as connection:
            connection.sendall(sent)
    assert serving.ask("GET", "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_port_or_a_seed_that_can_not_be_is_named(serving):
    for port in (serving.server.server_port, -1, 65536, 10**30):
        with pytest.raises(ValueError, match=rf"^port is {port}, which can't be used \(.*; choose another, or 0\."):
            DrawingServer(make(), port=port)
    with pytest.raises(ValueError, match=r"^seed is 5; the run has 3, 4\.$"):
        DrawingServer(make(), seed=5)
