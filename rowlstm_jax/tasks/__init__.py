"""What a result depends on besides the model and its training: reading order, augmentation and protocol. Pure.

A `Protocol` names a data set, its split, a reading order, an augmentation and a selection rule. Results are comparable
if their protocols have the same SHA-256. This floor uses `data` for the names and digests of the data sets. `README.md`
in this folder lists the protocols and orders, and shows how to add one.
"""

from rowlstm_jax.tasks.augmentation import Affine, augment
from rowlstm_jax.tasks.orders import ORDERS, Preprocessing, Read, order_digest, order_index, read, require_orders, scale
from rowlstm_jax.tasks.protocol import PROTOCOLS, Protocol, find_protocol, protocol_digest

__all__ = [
    "ORDERS",
    "PROTOCOLS",
    "Affine",
    "Preprocessing",
    "Protocol",
    "Read",
    "augment",
    "find_protocol",
    "order_digest",
    "order_index",
    "protocol_digest",
    "read",
    "require_orders",
    "scale",
]
