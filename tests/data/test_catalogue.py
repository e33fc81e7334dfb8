"""The catalogue against TensorFlow Datasets."""

import re
from pathlib import Path
from typing import Any

import pytest

from rowlstm_jax.data import DATASETS, DatasetSpec, builder


def test_the_catalogue_is_that_of_tfds() -> None:
    assert set(DATASETS) == set(builder.ORIGINALS) == set(builder.WRITERS)
    for name, spec in DATASETS.items():
        original = builder.ORIGINALS[name]
        assert (spec.version, spec.url) == (str(original.VERSION), original.URL)
        infos = original.url_infos or {}
        assert {spec.url + file.name: (file.size, file.sha256) for file in spec.files} == {
            url: (info.size, info.checksum) for url, info in infos.items()
        }


@pytest.mark.parametrize("name", DATASETS)
def test_class_names_are_those_of_tfds(name: str, tmp_path: Path) -> None:
    features: Any = builder.ORIGINALS[name](data_dir=tmp_path).info.features
    assert features["label"].names == list(DATASETS[name].class_names)


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
def test_shapes_and_digests_are_complete(spec: DatasetSpec) -> None:
    assert spec.shapes == ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    assert len({file.name for file in spec.files}) == len({file.sha256 for file in spec.files}) == 4
    digests = [file.sha256 for file in spec.files] + [file.idx_sha256 for file in spec.files] + [spec.sha256]
    digests += [spec.wheel.sha256, spec.wheel.member_sha256] if spec.wheel else []
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests if digest)


def test_a_data_set_without_a_known_digest_of_its_pixels_is_kmnist_only() -> None:
    """Its pixels are checked against the digest that was stored with them."""
    assert [name for name, spec in DATASETS.items() if spec.sha256 is None] == ["kmnist"]
