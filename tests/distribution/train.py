"""`recipes.train` on the devices of a test; with STOP_AT, as if Ctrl-C came at that epoch."""

import os

import tests.distribution.virtual_devices  # noqa: F401  (first)
from recipes.common.callbacks import InterruptBetweenBatches
from recipes.train import command as train

if "STOP_AT" in os.environ:

    def stop(callback, epoch, logs=None):
        if epoch == int(os.environ["STOP_AT"]):
            raise KeyboardInterrupt

    InterruptBetweenBatches.on_epoch_begin = stop

if __name__ == "__main__":
    train.main()
