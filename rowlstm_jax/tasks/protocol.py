"""Protocols: the data set, split, reading order, augmentation and selection rule of a result.

Two results are comparable if their protocols are equal in everything but the name, and so have the same SHA-256.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from rowlstm_jax.data import DATASETS, Dataset, Examples, is_own, open_dataset
from rowlstm_jax.tasks.augmentation import Affine, Augmentation
from rowlstm_jax.tasks.orders import order_digest, order_index, read
from rowlstm_jax.tasks.preprocessing import Preprocessing, Scaling, Standardization

ACCURACY = "max accuracy"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What a result depends on besides the model and its training.

    Example:
      >>> protocol = Protocol("mine", dataset="mnist", validation_examples=10_000, order="columns")
      >>> protocol.fields()["order_sha256"][:8], protocol.sha256()[:8]
      ('e2328a9c', '907b30d2')

    Raises:
      ValueError: a field is outside its range or does not fit the data.
    """

    name: str
    dataset: str | Dataset
    """A key of `rowlstm_jax.data.DATASETS`, or data of your own."""
    validation_examples: int
    """Number of training examples to hold out for validation."""
    order: str
    """The order in which pixels are read: a key of `rowlstm_jax.ORDERS`; "rows" for sequences."""
    augmentation: Affine | Augmentation | None = None
    """Random changes of the training images; None for no augmentation."""
    selection: Literal["last", "best_validation"] = "last"
    """The weights for the test set: of the last step, or of the best validation (the later step, if equal)."""
    select_by: str = ACCURACY
    """What the best validation is: max or min, and the name of a metric, such as "min loss"."""
    validation_seed: int | None = None
    """None holds out the first training examples, in file order; a seed draws them, see `data.split`."""
    scaling: Scaling = "pixels / 255"
    """"standardized" then subtracts the mean of each channel of the training part, and divides by the deviation."""
    grey: bool = False
    """Whether colour pictures are made grey first."""
    noise_to: int | None = None
    """Noise follows each sequence up to this number of steps; see `Preprocessing`."""

    def __post_init__(self):
        if not isinstance(self.dataset, Dataset) and self.dataset not in DATASETS:
            raise ValueError(f"dataset is {self.dataset!r}; choose one of {', '.join(DATASETS)}.")
        if self.selection not in ("last", "best_validation"):
            raise ValueError(f"selection is {self.selection!r}; choose 'last' or 'best_validation'.")
        if self.validation_examples < 0:
            raise ValueError(f"validation_examples is {self.validation_examples}; it must be 0 or more.")
        if self.selection == "best_validation" and not self.validation_examples:
            raise ValueError("selection is 'best_validation', which needs validation_examples of 1 or more.")
        if self.select_by.partition(" ")[0] not in ("max", "min") or not self.select_by.partition(" ")[2]:
            raise ValueError(f"select_by is {self.select_by!r}; it must be max or min and a metric, as in 'min loss'.")
        if self.scaling not in get_args(Scaling):
            raise ValueError(f"scaling is {self.scaling!r}; choose one of {', '.join(get_args(Scaling))}.")
        self._check_data()

    def _check_data(self) -> None:
        if self.grey and (len(stored := self._stored_shape) != 3 or stored[2] != 3):
            raise ValueError(f"grey is asked of {self._data[0]}, whose inputs are {list(stored)}; it needs [R, K, 3].")
        if isinstance(self.dataset, Dataset):
            if self.dataset.train.lengths is not None and (self.order != "rows" or self.noise_to):
                raise ValueError(
                    f"order is {self.order!r}, and the sequences of {self.dataset.name} have lengths; they are read "
                    "step by step: choose 'rows', without noise."
                )
            if self.validation_examples >= len(self.dataset.train):
                raise ValueError(
                    f"validation_examples is {self.validation_examples}, and {self.dataset.name} has "
                    f"{len(self.dataset.train)} training examples; hold out fewer."
                )
            order_index(self.order, *self.shape)  # a ready data set has a ready order, but own data may not fit it
        if self.noise_to is not None and self.noise_to <= (steps := len(order_index(self.order, *self.shape))):
            raise ValueError(f"noise_to is {self.noise_to}, and the sequences have {steps} steps; ask for more.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input as it is read: (R, K), (R, K, channels) or (T, F)."""
        return self._stored_shape[:2] if self.grey else self._stored_shape

    @property
    def sequence_shape(self) -> tuple[int, int]:
        """T and F of the sequences that the model reads."""
        return self.sequence_shape_of(self.shape)

    def sequence_shape_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """T and F of the sequences that are made of inputs of a shape."""
        steps, features = order_index(self.order, *shape).shape
        return self.noise_to or steps, features

    @property
    def num_outputs(self) -> int:
        """What the last layer returns for an example: C, or the number of values of a target that is no class."""
        if not isinstance(self.dataset, Dataset):
            return len(DATASETS[self.dataset].class_names)
        return len(self.dataset.class_names) or math.prod(self.dataset.train.targets.shape[1:])

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        return self.dataset.shape if isinstance(self.dataset, Dataset) else DATASETS[self.dataset].image_shape

    @property
    def _data(self) -> tuple[str, str, str | None]:
        """Name, version and SHA-256 of the data."""
        dataset = self.dataset if isinstance(self.dataset, Dataset) else DATASETS[self.dataset]
        return dataset.name, dataset.version, dataset.sha256

    def preprocessing(self, train: Examples) -> Preprocessing:
        """How inputs are read; `train` are the training examples, which "standardized" measures."""
        index = order_index(self.order, *train.inputs.shape[1:])
        standardize = Standardization.of(train) if self.scaling == "standardized" else None
        order = functools.partial(read, index=index)
        return Preprocessing(order, self.augmentation, standardize, self.noise_to)

    def fields(self) -> dict[str, Any]:
        """All fields but the name, as JSON values, with version and digest of the data set and digest of the order."""
        name, version, sha256 = self._data
        augmentation = self.augmentation
        if isinstance(augmentation, Affine):
            augmentation = dataclasses.asdict(augmentation)
        elif augmentation is not None:
            augmentation = augmentation.fields()
        floats = isinstance(self.dataset, Dataset) and not self.dataset.is_pictures
        plain = {"pixels / 255": "none", "standardized": "standardized"} if floats else {}
        # A field that came later is left out at its default, so that digests of earlier versions stay.
        later = {
            spec.name: value
            for spec in dataclasses.fields(self)
            if spec.name in LATER and (value := getattr(self, spec.name)) != spec.default
        }
        return {
            "dataset": name,
            "validation_examples": self.validation_examples,
            "order": self.order,
            "augmentation": augmentation,
            "selection": self.selection,
            "dataset_version": version,
            "dataset_sha256": sha256,
            "order_sha256": order_digest(order_index(self.order, *self.shape)),
            "scaling": plain.get(self.scaling, self.scaling),
            "evaluation": "the whole test set, once, after training",
            **later,
        }

    def to_json(self) -> dict[str, Any]:
        """Its name, digest and fields, as JSON values."""
        return {"name": self.name, "sha256": self.sha256(), "fields": self.fields()}

    def sha256(self) -> str:
        """The SHA-256 of the `fields`: it does not depend on the name."""
        return protocol_digest(self.fields())


LATER = ("select_by", "validation_seed", "grey", "noise_to")


def protocol_digest(fields: Mapping[str, Any]) -> str:
    """The SHA-256 of a protocol's fields as JSON with sorted keys and no spaces."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _cifar10() -> Iterator[Protocol]:
    """The protocols of CIFAR-10. A tenth of the training images is held out by seed 42, as in S4 and S5.

    - cifar10_pixels: "sequential CIFAR" (sCIFAR), T = 1024, F = 3, standardized. S4 (arXiv:2111.00396) and S5
      (arXiv:2208.04933) read it so, with fixed means and deviations where these are those of the training part.
    - cifar10_grey: T = 1024, F = 1, standardized. The task "Image" of the Long Range Arena (arXiv:2011.04006).
    - cifar10_rows: T = 32, F = 96. Our own; the rows are those of cifar10_noise.
    - cifar10_noise: the rows, then noise up to T = 1000. coRNN (arXiv:2010.00951), "noise padded CIFAR-10", after
      Chang et al. (arXiv:1902.09689), with pixels / 255.
    """
    held_out: Any = {"validation_examples": 5_000, "validation_seed": 42}
    yield Protocol("cifar10_pixels", "cifar10", order="pixels", scaling="standardized", **held_out)
    yield Protocol("cifar10_grey", "cifar10", order="pixels", scaling="standardized", grey=True, **held_out)
    yield Protocol("cifar10_rows", "cifar10", order="rows", **held_out)
    yield Protocol("cifar10_noise", "cifar10", order="rows", noise_to=1_000, **held_out)


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
        Protocol("kmnist_rows", "kmnist", validation_examples=5_000, order="rows"),
        Protocol("kmnist_pixels", "kmnist", validation_examples=5_000, order="pixels"),
        *_cifar10(),
    )
}


def find_protocol(name: str, data_dir: Path | None = None) -> Protocol:
    """The protocol of this name in `PROTOCOLS`; or one for data of your own, which are read and checked.

    Args:
      name: a key of `PROTOCOLS`; or an .npz file, a folder of pictures or tfds:<name>, see `data.open_dataset`. Own
        data are read in the order "rows", and a tenth of the training examples, drawn by seed 0, is held out.
      data_dir: the folder of TensorFlow Datasets, for tfds:<name>.

    Raises:
      ValueError: there is none, or the data can't be used.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if is_own(name):
        try:
            return own_protocol(open_dataset(name, data_dir))
        except ValueError as error:
            raise ValueError(f"protocol is {name}, which can't be used: {error}") from error
    raise ValueError(
        f"protocol is {name!r}; choose one of {', '.join(PROTOCOLS)}; or name data of your own: an .npz file, a folder "
        "of pictures, or tfds:<name>."
    )


def own_protocol(dataset: Dataset, order: str = "rows", validation_examples: int | None = None) -> Protocol:
    """A protocol for data of your own: validation examples drawn by seed 0, by default a tenth of the training ones."""
    count = max(1, len(dataset.train) // 10) if validation_examples is None else validation_examples
    by = ACCURACY if dataset.class_names else "min loss"
    return Protocol(f"{dataset.name}_{order}", dataset, count, order, select_by=by, validation_seed=0)
