from __future__ import annotations

import numpy as np

from benchmarks.demo import digits
from common.self_test import MAX_SAMPLES


def test_parts_are_disjoint_and_cover_the_data_set() -> None:
    split = digits.load()
    parts = (split.first, split.later, split.acceptance, split.held_out)
    images = np.concatenate([part.images for part in parts])
    # Every image of the data set is another, so equal images in two parts would show.
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images) == 1797
    assert images.dtype == np.float32
    assert images.min() == 0.0
    assert images.max() == 1.0


def test_split_is_the_same_each_time() -> None:
    np.testing.assert_array_equal(digits.load().held_out.labels, digits.load().held_out.labels)


def test_acceptance_part_fits_a_self_test_and_has_every_digit() -> None:
    acceptance = digits.load().acceptance
    assert len(acceptance) <= MAX_SAMPLES
    assert set(acceptance.labels) == set(range(digits.CLASSES))


def test_shuffled_labels_are_the_same_labels_elsewhere() -> None:
    samples = digits.load().first
    shuffled = digits.with_shuffled_labels(samples, seed=1)
    np.testing.assert_array_equal(np.sort(shuffled.labels), np.sort(samples.labels))
    assert (shuffled.labels == samples.labels).mean() < 0.2
