"""A page of this machine on which one draws, and sees what a trained model thinks after each step that it reads."""

import json
import secrets
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import numpy as np
from PIL import Image

from rowlstm_jax.analysis import TrainedModel
from rowlstm_jax.interop.pictures import as_mnist

SIDE = 280  # pixels of the canvas; each is sent as a byte, from 0 where nothing is drawn to 255 in a stroke
NONCE = secrets.token_urlsafe()  # the page may use what has it, and nothing else
POLICY = f"default-src 'nonce-{NONCE}'; connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
QUIET = type("_Quiet", (WSGIRequestHandler,), {"log_message": lambda *_: None})  # no line on stderr for each request


class DrawingServer(ThreadingHTTPServer, WSGIServer):
    """Serves drawing.html to this machine. Raises a ValueError if `port` or `seed` can't be; port 0 is any free one."""

    def __init__(self, model: TrainedModel, seed: int | None = None, port: int = 0, *, like_mnist: bool = False):
        self._model, self._seed, self._like_mnist, self._lock = model, seed, like_mnist, threading.Lock()
        self._page = Path(__file__).with_name("drawing.html").read_text("utf-8").replace("NONCE", NONCE)
        self._see(np.eye(SIDE, dtype=np.uint8) * 255)  # compiles
        try:
            super().__init__(("127.0.0.1", port), QUIET)
        except (OSError, OverflowError) as error:
            raise ValueError(f"port is {port}, which can't be used ({error}); choose another, or 0.") from error
        self.set_app(self._answer)
        self.handle_error = lambda request, client_address: None  # of a browser that went away

    def _see(self, drawing: np.ndarray) -> dict[str, Any]:  # steps: [T, C]; pixels: which of `read` each step reads
        model, image = self._model, Image.fromarray(as_mnist(drawing) if self._like_mnist else drawing)
        read = np.asarray(image.resize((model.shape[1], model.shape[0]), Image.Resampling.BILINEAR))
        picture = np.broadcast_to(read.T, model.shape[::-1]).T[None]  # the same in each channel
        positions: Any = np.arange(picture.size, dtype=np.float32).reshape(picture.shape)
        with self._lock:  # JAX computes one at a time
            pixels = np.asarray(model.preprocessing.order(positions)[0], int) // (picture.size // read.size)
            steps = (model.over_time if model.has_over_time else model.predict)(picture, self._seed)
        return {"read": read, "pixels": pixels, "steps": np.atleast_2d(steps.squeeze(0)), "classes": model.class_names}

    def _answer(self, request: dict[str, Any], start: Any) -> list[bytes]:
        host, way = request.get("HTTP_HOST"), f"{request['REQUEST_METHOD']} {request['PATH_INFO']}"
        ours = host in [f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")]  # not another site's name
        status, kind, text = "200 OK", "text/html", self._page
        try:
            if not ours or (way != "GET /" and request.get("HTTP_ORIGIN") != f"http://{host}"):
                raise ValueError("Only the page itself may ask, and only on this machine.")
            if way == "POST /see" and request["CONTENT_LENGTH"] == str(SIDE**2):
                drawing = np.frombuffer(request["wsgi.input"].read(SIDE**2), np.uint8).reshape(SIDE, SIDE)
                kind, text = "application/json", json.dumps(self._see(drawing), default=np.ndarray.tolist)
            elif way != "GET /":
                raise ValueError(f"There is only POST /see, with {SIDE**2} bytes.")
        except (ValueError, OSError) as error:
            status, kind, text = "400 Bad Request", "application/json", json.dumps({"error": str(error)})
        start(status, [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Security-Policy", POLICY)])
        return [text.encode()]
