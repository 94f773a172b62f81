"""Checks of pretrained weights before a run starts. No Keras, because its import takes seconds."""

from ..common.settings import SMALL_NETWORKS


def check_transfer(arguments) -> None:
    """Raises `ValueError` if settings of pretrained weights do not go together.

    Args:
        arguments: `recipes.common.settings.Settings`, already checked one by one.
    """
    weights = arguments.weights
    if arguments.resolution == "full" and arguments.network in SMALL_NETWORKS:
        raise ValueError(
            f"--resolution full: {arguments.network} has only a version for small images."
        )
    if weights is None:
        return
    # A resumed run has read the file already.
    if not arguments.resume and not weights.expanduser().is_file():
        raise ValueError(f"--weights: {weights} is not a file.")
    if arguments.head_epochs >= arguments.epochs:
        raise ValueError(
            "--head-epochs must be less than --epochs. To train only the head, pass --train head. "
            f"Received: --head-epochs {arguments.head_epochs} --epochs {arguments.epochs}"
        )
    if arguments.train == "head" and arguments.head_epochs:
        raise ValueError(
            "--train head trains the head in all epochs, so it takes no --head-epochs."
        )
    if arguments.train == "combinations" and arguments.spatial != "learned":
        raise ValueError(
            "--train combinations makes combinations of the filters of --weights, so it needs "
            f"--spatial learned. Received: --spatial {arguments.spatial}"
        )
    if weights.suffix != ".keras" and arguments.spatial in ("lc", "gram_limit"):
        raise ValueError(
            f"{weights.name} holds kernels, and the kernels of --spatial {arguments.spatial} are "
            "products. Pass --spatial learned; with --train combinations, only linear combinations "
            "of its filters are trained."
        )
