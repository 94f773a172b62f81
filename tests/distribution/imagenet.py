"""`recipes.imagenet` on the devices of a test, with a network that is traced in a moment."""

import tests.distribution.virtual_devices  # noqa: F401  (first)
from recipes.imagenet import command, run
from tests.recipes.tiny_network import tiny

run.build = tiny

if __name__ == "__main__":
    command.main()
