"""Pictures and sequences as verified arrays, their splits, and the order in which training reads them.

`open_dataset` returns a data set by the name of a published one or by the path of one's own; `load`, `from_arrays`,
`from_npz`, `from_folder` and `from_tfds` each do one of these. `split` holds out validation examples and seals the test
set. `batch_indices` says which examples make the batch of a step. This floor uses NumPy, Pillow and TensorFlow Datasets
only. It knows nothing of models, flags or runs. `README.md` in this folder says where the bytes come from.
"""

from rowlstm_jax.data.batches import batch_indices, batches, torch_permutation
from rowlstm_jax.data.catalogue import DATASETS, DatasetSpec
from rowlstm_jax.data.dataset import Dataset, Examples, Sealed, Splits, split
from rowlstm_jax.data.folder import from_folder
from rowlstm_jax.data.load import load
from rowlstm_jax.data.npz import from_npz
from rowlstm_jax.data.opening import is_own, open_dataset
from rowlstm_jax.data.own import from_arrays
from rowlstm_jax.data.pictures import SUFFIXES as PICTURES
from rowlstm_jax.data.pictures import read_pixels as read_picture
from rowlstm_jax.data.tfds import from_tfds

__all__ = [
    "DATASETS",
    "PICTURES",
    "Dataset",
    "DatasetSpec",
    "Examples",
    "Sealed",
    "Splits",
    "batch_indices",
    "batches",
    "from_arrays",
    "from_folder",
    "from_npz",
    "from_tfds",
    "is_own",
    "load",
    "open_dataset",
    "read_picture",
    "split",
    "torch_permutation",
]
