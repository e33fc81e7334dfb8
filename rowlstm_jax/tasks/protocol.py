"""What a published number depends on besides the model and its training. Two results of one protocol compare."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from rowlstm_jax.data import DATASETS, IMAGE_SHAPE
from rowlstm_jax.errors import UserError
from rowlstm_jax.tasks.augmentation import Affine
from rowlstm_jax.tasks.orders import order_digest, order_index


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A named protocol; its digest is that of all that its fields stand for, not of its name.

    Example:
      >>> protocol = Protocol("mine", dataset="mnist", validation_examples=10_000, order="columns")
      >>> protocol.fields()["order_sha256"][:8], protocol.sha256()[:8]
      ('e2328a9c', '907b30d2')

    Raises:
      ValueError: `validation_examples` is negative, or 0 where the best evaluated step is to be selected.
    """

    name: str
    dataset: str
    """A key of `rowlstm_jax.data.DATASETS`."""
    validation_examples: int
    """The first so many training images in file order are held out; the others train."""
    order: str
    """A key of `rowlstm_jax.tasks.orders.ORDERS`: how an image becomes a sequence."""
    augmentation: Affine | None = None
    """Random maps of the training images; None trains on the images as they are."""
    selection: Literal["last", "best_validation"] = "last"
    """Which weights the test set sees: the last step's, or those of the best evaluated step, of equals the later."""

    def __post_init__(self):
        if self.validation_examples < 0:
            raise ValueError(f"validation_examples is {self.validation_examples}; it must be 0 or more.")
        if self.selection == "best_validation" and not self.validation_examples:
            raise ValueError("selection is 'best_validation', and no validation examples are held out.")

    def fields(self) -> dict[str, Any]:
        """All that the protocol says but its name, as JSON values.

        Names whose meaning could change, of a data set and of an order, stand beside a version or a digest of what they
        mean now.
        """
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
        """`protocol_digest` of the `fields`."""
        return protocol_digest(self.fields())


def protocol_digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 of a protocol's fields in their canonical form: JSON, its keys sorted, without spaces."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


_PERMUTED = ("bit_reversal", "numpy_92916", "torch_5544", "torch_12008", "numpy_0")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("notebook", "mnist", validation_examples=5_000, order="rows"),
        Protocol("mnist_rows_60000", "mnist", validation_examples=0, order="rows"),
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
    """The ready protocol of this name.

    Raises:
      UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(f"There is no protocol {name!r}; choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
