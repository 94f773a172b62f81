"""Bytes that a step is known to need, against what the allocator says that it took."""

import keras
import numpy as np
import pytest
from keras import ops

from benchmarks.allocations import peak_of

MIB = 2**20


def counts_on_this_machine():
    if keras.backend.backend() != "tensorflow":
        return keras.backend.backend() == "torch"
    import tensorflow as tf

    try:
        tf.config.experimental.get_memory_info("CPU:0")
    except ValueError:  # without oneDNN, which TensorFlow turns on for newer processors alone
        return False
    return True


@pytest.mark.skipif(not counts_on_this_machine(), reason="the backend counts nothing on this CPU")
def test_peak_is_what_is_in_use_at_a_time():
    kept = ops.ones((1024, 1024))

    def step():
        first = ops.add(kept, 1.0)
        second = ops.add(first, 1.0)
        third = ops.add(second, 1.0)
        del first, second
        fourth = ops.add(third, 1.0)
        assert float(ops.max(fourth)) == 5.0

    step()
    np.testing.assert_allclose(peak_of(step), 3 * 4 * MIB, rtol=1e-3)
