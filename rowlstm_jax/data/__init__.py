"""Image data sets as verified uint8 arrays, their splits, and the order in which training reads them.

`load` returns a data set with its images in the order of the original files. `split` holds out validation images and
seals the test set. `batch_indices` says which examples make the batch of a step. This floor uses NumPy and TensorFlow
Datasets only. It knows nothing of models, flags or runs. `README.md` in this folder says where the bytes come from.
"""

from rowlstm_jax.data.batches import batch_indices
from rowlstm_jax.data.catalogue import DATASETS, IMAGE_SHAPE, DatasetSpec
from rowlstm_jax.data.dataset import Examples, ImageDataset, Sealed, Splits, split
from rowlstm_jax.data.load import load

__all__ = [
    "DATASETS",
    "IMAGE_SHAPE",
    "DatasetSpec",
    "Examples",
    "ImageDataset",
    "Sealed",
    "Splits",
    "batch_indices",
    "load",
    "split",
]
