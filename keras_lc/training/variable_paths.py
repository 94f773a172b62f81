"""Finds the variables that an optimizer's config names by their paths."""

from collections.abc import Iterable, Iterator, Sequence

import keras


def variables_at(
    paths: Iterable[str], variables: Sequence[keras.Variable], what: str
) -> Iterator[tuple[keras.Variable, str]]:
    """Yields the variables with these paths, each with the path that named it.

    Args:
        paths: Paths of variables, as in `variable.path`.
        variables: All variables of the optimizer.
        what: String for the error, what the optimizer does with the variables.

    Raises:
        ValueError: If no variable, or more than one model's variable, can be meant by a path.
    """
    by_path = {variable.path: variable for variable in variables}
    for path in paths:
        if path in by_path:
            yield from ((variable, path) for variable in variables if variable.path == path)
            continue
        # When a Sequential model is loaded, its name can leave or join the paths.
        ends = [p for p in by_path if p.endswith(f"/{path}") or path.endswith(f"/{p}")]
        if len(ends) != 1:
            raise ValueError(
                f"The optimizer was saved with '{path}' {what}. The model "
                f"must have one variable with that path. Received: {len(ends)} such variables "
                f"in {list(by_path)}"
            )
        yield by_path[ends[0]], path
