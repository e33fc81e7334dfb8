import dataclasses

import pytest

from rowlstm_jax.tasks import orders as sequences
from rowlstm_jax.tasks import protocol as protocols
from rowlstm_jax.tasks.augmentation import Affine
from rowlstm_jax.tasks.protocol import PROTOCOLS, Protocol

NOTEBOOK = PROTOCOLS["notebook"]


def test_the_notebooks_digest_is_known():
    """It stands in every summary: if this changes, results of yesterday no longer compare."""
    assert NOTEBOOK.sha256() == "8e80651ef3db4a34965f598583a070da7bfdfe92030a03118bb18b6c7f7b35f0"


def test_every_field_but_the_name_changes_the_digest():
    others = [
        dataclasses.replace(NOTEBOOK, **change)
        for change in (
            {"dataset": "fashion_mnist"},
            {"validation_examples": 0},
            {"order": "columns"},
            {"augmentation": Affine(shift=2)},
            {"augmentation": Affine(shift=2, flip=True)},
            {"selection": "best_validation"},
        )
    ]
    assert len({protocol.sha256() for protocol in (NOTEBOOK, *others)}) == 1 + len(others)
    assert dataclasses.replace(NOTEBOOK, name="another").sha256() == NOTEBOOK.sha256()
    whole = dataclasses.replace(NOTEBOOK, augmentation=Affine(shift=2.0))
    assert whole.sha256() == dataclasses.replace(NOTEBOOK, augmentation=Affine(shift=2)).sha256()


def test_an_order_that_means_something_else_is_another_protocol(monkeypatch):
    before = NOTEBOOK.sha256()
    monkeypatch.setitem(sequences.ORDERS, "rows", lambda *size: sequences.order_index("columns", *size))
    assert NOTEBOOK.sha256() != before


def test_the_ready_protocols_differ():
    assert len({protocol.sha256() for protocol in PROTOCOLS.values()}) == len(PROTOCOLS) == 18
    assert {protocol.validation_examples for protocol in PROTOCOLS.values()} == {0, 5_000}


def test_an_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match=r"^protocol is 'rows'; choose one of notebook, "):
        protocols.find_protocol("rows")


def test_less_than_nothing_cannot_be_held_out():
    with pytest.raises(ValueError, match="validation_examples is -1; it must be 0 or more"):
        Protocol("mine", "mnist", -1, "rows")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"selection": "best"}, "selection is 'best'; choose 'last' or 'best_validation'"),
        ({"dataset": "cifar100"}, "dataset is 'cifar100'; choose one of mnist, "),
        ({"validation_examples": 0, "selection": "best_validation"}, "needs validation_examples of 1 or more"),
    ],
)
def test_a_field_with_a_mistake_is_refused_when_the_protocol_is_made(fields, words):
    with pytest.raises(ValueError, match=words):
        Protocol(**{"name": "mine", "dataset": "mnist", "validation_examples": 5_000, "order": "rows"} | fields)
