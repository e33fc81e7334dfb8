"""What a result depends on besides the model and its training: reading order, augmentation and protocol. Pure.

A `Protocol` names a data set, its split, a reading order, an augmentation and a selection rule. Results are comparable
if their protocols have the same SHA-256. This floor uses `data` for the names and digests of the data sets. `README.md`
in this folder lists the protocols and orders, and shows how to add one. `streams` makes inputs for online learning.
"""

from rowlstm_jax.tasks.augmentation import FLIP_AND_CROP, Affine, Augmentation, augment, random_crop, random_flip
from rowlstm_jax.tasks.cutout import cutout
from rowlstm_jax.tasks.elastic import elastic
from rowlstm_jax.tasks.orders import ORDERS, Read, order_digest, order_index, read, require_orders
from rowlstm_jax.tasks.preprocessing import Preprocessing, Standardization, scale, to_grey
from rowlstm_jax.tasks.protocol import PROTOCOLS, Protocol, find_protocol, own_protocol, protocol_digest
from rowlstm_jax.tasks.streams import lag_stream, solved_after

__all__ = [
    "FLIP_AND_CROP",
    "ORDERS",
    "PROTOCOLS",
    "Affine",
    "Augmentation",
    "Preprocessing",
    "Protocol",
    "Read",
    "Standardization",
    "augment",
    "cutout",
    "elastic",
    "find_protocol",
    "lag_stream",
    "order_digest",
    "order_index",
    "own_protocol",
    "protocol_digest",
    "random_crop",
    "random_flip",
    "read",
    "require_orders",
    "scale",
    "solved_after",
    "to_grey",
]
