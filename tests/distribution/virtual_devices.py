"""Makes the devices that a test asks for. To be imported before Keras, which makes them final."""

import os

if os.environ["KERAS_BACKEND"] == "torch":
    # Before TensorFlow, which Keras imports (segfault otherwise).
    import torch

    torch.set_num_threads(1)
if count := int(os.environ.get("LOGICAL_DEVICES", 0)):
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * count
    )
