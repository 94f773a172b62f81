"""Results of many runs. Each run is a dict with its settings, its seed and its measurements."""

import math
import statistics
from collections.abc import Iterable, Sequence


def summarize(rows: Iterable[dict], value: str, by: Sequence[str]) -> list[dict]:
    """Returns mean and standard deviation over the seeds, for each combination of settings.

    Args:
        rows: List of dicts, one per run. Rows without `value` (or with `None`), for example from
            a failed run, are ignored.
        value: Key of a measurement, such as `"test_accuracy"`.
        by: List of keys of settings, such as `["operator", "expansion"]`. The rows are grouped by
            them. A missing setting counts as `None`.

    Returns:
        A list of dicts in the order of the rows, with the keys of `by` and

        - `mean`.
        - `deviation`: The sample standard deviation, `None` for a single run.
        - `runs`: The number of runs.

    Raises:
        ValueError: If no row has `value`. If two runs with equal settings have the same `seed`:
            they differ in another setting, so their mean has no meaning.

    Example:

    >>> rows = [{"expansion": 8, "seed": seed, "accuracy": 0.7 + seed / 100} for seed in (0, 2)]
    >>> summarize(rows, "accuracy", by=["expansion"])[0]["runs"]
    2
    """
    groups = {}
    for row in rows:
        if row.get(value) is not None:
            groups.setdefault(tuple(row.get(key) for key in by), []).append(row)
    if not groups:
        raise ValueError(f"No row has a value for {value!r}.")
    summary = []
    for settings, runs in groups.items():
        _check_seeds(runs, dict(zip(by, settings, strict=True)))
        values = [float(run[value]) for run in runs]
        summary.append(
            dict(
                zip(by, settings, strict=True),
                mean=statistics.fmean(values),
                deviation=statistics.stdev(values) if len(values) > 1 else None,
                runs=len(values),
            )
        )
    return summary


def note_on_runs(points: Iterable[dict]) -> str:
    """Returns a text about the points of a picture, which come from `summarize`."""
    runs = sorted({point["runs"] for point in points})
    if runs == [1]:
        return "one run a point"
    several = str(runs[-1]) if runs[0] == runs[-1] else f"{runs[0]} to {runs[-1]}"
    return f"mean and standard deviation of {several} runs"


def gap(
    rows: Iterable[dict],
    value: str,
    between: tuple[str, object, object],
    match: Sequence[str] = ("expansion", "kernel_size", "seed"),
) -> list[dict]:
    """Returns the difference between two kinds of runs, for each pair of runs.

    Args:
        rows: List of dicts, one per run.
        value: Key of a measurement, such as `"test_accuracy"`.
        between: Tuple of a key and two of its values: `("frozen", True, False)` gives frozen minus
            learned.
        match: List of keys. The two runs of a pair must have equal values for them.

    Returns:
        A list of dicts with the keys of `match` and `"{value}_gap"`, one per pair. Runs without a
        partner are ignored.

    Raises:
        ValueError: If there is no pair, or a run has two partners.

    Example:

    >>> rows = [
    ...     {"frozen": frozen, "expansion": 8, "seed": 0, "accuracy": accuracy}
    ...     for frozen, accuracy in ((True, 0.75), (False, 0.5))
    ... ]
    >>> gap(rows, "accuracy", ("frozen", True, False), match=["expansion", "seed"])
    [{'expansion': 8, 'seed': 0, 'accuracy_gap': 0.25}]

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Figure 8a
    """
    key, *kinds = between
    measured = {kind: {} for kind in kinds}
    for row in rows:
        if row.get(key) not in measured or row.get(value) is None:
            continue
        settings = tuple(row.get(name) for name in match)
        runs = measured[row[key]]
        if settings in runs:
            raise ValueError(
                f"Two runs with {key}={row[key]!r} have equal "
                f"{dict(zip(match, settings, strict=True))}. Leave one out, or add to `match` the "
                "key in which they differ."
            )
        runs[settings] = float(row[value])
    first, second = (measured[kind] for kind in kinds)
    pairs = [
        {**dict(zip(match, settings, strict=True)), f"{value}_gap": first[settings] - other}
        for settings, other in second.items()
        if settings in first
    ]
    if not pairs:
        raise ValueError(
            f"No run with {key}={kinds[0]!r} agrees with a run with {key}={kinds[1]!r} in "
            f"{list(match)}. Received: {len(first)} and {len(second)} runs"
        )
    return pairs


def _check_seeds(runs, settings):
    seeds = [run["seed"] for run in runs if run.get("seed") is not None]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise ValueError(
            f"Several runs with {settings} have the seed {twice[0]}, so they differ in something "
            "else. Leave some out, or add the key in which they differ."
        )


def is_number(value: object) -> bool:
    """Returns whether a setting can be drawn on an axis: a finite number, not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
