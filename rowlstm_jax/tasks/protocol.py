"""Protocols: the data set, split, reading order, augmentation and selection rule of a result.

Two results are comparable if their protocols are equal in everything but the name, and so have the same SHA-256.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from rowlstm_jax.data import DATASETS, IMAGE_SHAPE
from rowlstm_jax.tasks.augmentation import Affine
from rowlstm_jax.tasks.orders import order_digest, order_index


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What a result depends on besides the model and its training.

    Example:
      >>> protocol = Protocol("mine", dataset="mnist", validation_examples=10_000, order="columns")
      >>> protocol.fields()["order_sha256"][:8], protocol.sha256()[:8]
      ('e2328a9c', '907b30d2')

    Raises:
      ValueError: a field is outside its range, or `selection` needs validation examples and there are none.
    """

    name: str
    dataset: str
    """A key of `rowlstm_jax.data.DATASETS`."""
    validation_examples: int
    """Number of training images to hold out for validation: the first ones, in file order."""
    order: str
    """The order in which pixels are read: a key of `rowlstm_jax.ORDERS`."""
    augmentation: Affine | None = None
    """Random affine maps of the training images; None for no augmentation."""
    selection: Literal["last", "best_validation"] = "last"
    """The weights for the test set: of the last step, or of the best validation accuracy (the later step, if equal)."""

    def __post_init__(self):
        if self.dataset not in DATASETS:
            raise ValueError(f"dataset is {self.dataset!r}; choose one of {', '.join(DATASETS)}.")
        if self.selection not in ("last", "best_validation"):
            raise ValueError(f"selection is {self.selection!r}; choose 'last' or 'best_validation'.")
        if self.validation_examples < 0:
            raise ValueError(f"validation_examples is {self.validation_examples}; it must be 0 or more.")
        if self.selection == "best_validation" and not self.validation_examples:
            raise ValueError("selection is 'best_validation', which needs validation_examples of 1 or more.")

    def fields(self) -> dict[str, Any]:
        """All fields but the name, as JSON values, with version and digest of the data set and digest of the order."""
        values = dataclasses.asdict(self)
        del values["name"]
        return values | {
            "dataset_version": DATASETS[self.dataset].version,
            "dataset_sha256": DATASETS[self.dataset].sha256,
            "order_sha256": order_digest(order_index(self.order, *IMAGE_SHAPE)),
            "scaling": "pixels / 255",
            "evaluation": "the whole test set, once, after training",
        }

    def sha256(self) -> str:
        """The SHA-256 of the `fields`: it does not depend on the name."""
        return protocol_digest(self.fields())


def protocol_digest(fields: Mapping[str, Any]) -> str:
    """The SHA-256 of a protocol's fields as JSON with sorted keys and no spaces."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


_PERMUTED = ("bit_reversal", "numpy_92916", "torch_5544", "torch_12008", "numpy_0")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("notebook", "mnist", validation_examples=5_000, order="rows"),
        Protocol("mnist_rows_60000", "mnist", validation_examples=0, order="rows"),
        Protocol("mnist_columns", "mnist", validation_examples=5_000, order="columns"),
        Protocol("mnist_columns_60000", "mnist", validation_examples=0, order="columns"),
        Protocol("mnist_pixels", "mnist", validation_examples=5_000, order="pixels"),
        *(
            Protocol(f"mnist_permuted_{variant}", "mnist", validation_examples=5_000, order=f"permuted_{variant}")
            for variant in _PERMUTED
        ),
        Protocol("fashion_rows", "fashion_mnist", validation_examples=5_000, order="rows"),
        Protocol("fashion_pixels", "fashion_mnist", validation_examples=5_000, order="pixels"),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of this name in `PROTOCOLS`.

    Raises:
      ValueError: there is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is {name!r}; choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
