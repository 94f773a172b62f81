import math

import pytest

from keras_lc.analysis import gap, summarize

pytestmark = pytest.mark.once


def run(seed, accuracy, **settings):
    return {"seed": seed, "accuracy": accuracy, **settings}


def test_mean_and_sample_standard_deviation_for_each_setting():
    rows = [
        run(0, 0.5, expansion=8),
        run(0, 0.9, expansion=1),
        run(1, 0.7, expansion=8),
        run(2, 0.6, expansion=8),
    ]
    first, second = summarize(rows, "accuracy", by=["expansion"])
    assert first == pytest.approx({"expansion": 8, "mean": 0.6, "deviation": 0.1, "runs": 3})
    assert second == {"expansion": 1, "mean": 0.9, "deviation": None, "runs": 1}


def test_failed_runs_are_left_out_and_missing_settings_are_none():
    rows = [run(0, None, expansion=8), {"seed": 1, "expansion": 8}, run(0, 0.5)]
    assert summarize(rows, "accuracy", by=["expansion"]) == [
        {"expansion": None, "mean": 0.5, "deviation": None, "runs": 1}
    ]


def test_runs_that_differ_in_something_else_are_not_averaged():
    rows = [run(3, 0.5, expansion=8, width=16), run(3, 0.6, expansion=8, width=32)]
    with pytest.raises(ValueError, match=r"\{'expansion': 8\} have the seed 3, so they differ"):
        summarize(rows, "accuracy", by=["expansion"])
    assert len(summarize(rows, "accuracy", by=["expansion", "width"])) == 2


def test_a_value_that_no_run_has():
    with pytest.raises(ValueError, match="No row has a value for 'loss'"):
        summarize([run(0, 0.5)], "loss", by=[])


PAIRED = [
    run(seed, base + lead * frozen, frozen=frozen, expansion=expansion)
    for frozen in (False, True)
    for seed, base in ((0, 0.5), (1, 0.7))
    for expansion, lead in ((1, -0.25), (8, 0.125))
]


def test_gap_is_taken_run_by_run():
    rows = gap(PAIRED, "accuracy", ("frozen", True, False), match=["expansion", "seed"])
    assert {(row["expansion"], row["seed"]): row["accuracy_gap"] for row in rows} == pytest.approx(
        {(1, 0): -0.25, (8, 0): 0.125, (1, 1): -0.25, (8, 1): 0.125}
    )
    # What all seeds have in common does not enter the deviation.
    assert math.isclose(summarize(rows, "accuracy_gap", ["expansion"])[0]["deviation"], 0)


def test_gap_leaves_out_runs_without_a_counterpart():
    rows = gap(PAIRED[:-1], "accuracy", ("frozen", True, False), match=["expansion", "seed"])
    assert len(rows) == 3


def test_a_gap_without_pairs_is_refused():
    with pytest.raises(ValueError, match=r"frozen=True agrees .* Received: 0 and 4 runs"):
        gap(PAIRED[:4], "accuracy", ("frozen", True, False))


def test_a_gap_of_two_counterparts_is_refused():
    with pytest.raises(ValueError, match=r"Two runs with frozen=False have equal \{'seed': 0\}"):
        gap(PAIRED, "accuracy", ("frozen", True, False), match=["seed"])
