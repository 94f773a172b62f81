"""Seeds of the parts of a model, and fingerprints."""

import numpy as np
import pytest

from keras_lc.bases.random_numbers import symmetric_uniform
from keras_lc.seeds import derive_seed, fingerprint

pytestmark = pytest.mark.once


def test_derived_seeds_depend_on_seed_and_position():
    seeds = {derive_seed(s, p) for s in range(50) for p in ("stem_conv", "stage1_block0_conv1")}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, "stem_conv") == 1443275639293720474


def test_fingerprint_sees_one_bit():
    values = symmetric_uniform(1, (1000,))
    changed = values.copy()
    changed[500] = np.nextafter(changed[500], np.float32(2))
    assert fingerprint(values) != fingerprint(changed)
    assert fingerprint(values) == fingerprint(values.copy())
