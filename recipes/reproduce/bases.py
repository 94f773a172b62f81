"""Renders the comparison of frozen bases, beside what theory predicts. Imports Keras."""

import numpy as np

import keras_lc
from keras_lc.analysis import gram_spread, plot_kernels

from ..common.settings import BASES
from .render import Runs, draw_sweep, means, one_seed, percent, pivot, plain, trained_model

_CONTROL, _LEARNED = "control", "learned"
_MEASURED = {
    "test_accuracy": ("accuracy (%)", percent),
    "robust_accuracy": ("accuracy under attack (%)", percent),
    "variance_entropy_normalized_first": ("entropy, first layer (random = 1)", plain),
    "variance_entropy_normalized_last": ("entropy, last layer (random = 1)", plain),
}
_PREDICTION = """\
What theory predicts: with SGD, a frozen basis `K` acts on the training only by `K · Kᵀ`, which
scales the learning rate of each direction of the combined kernels. The spread is the standard
deviation of the eigenvalues of `K · Kᵀ` over their mean (mean of all layers, one seed). The control
has the spread 0. So a basis whose spread falls to 0 becomes the same network as the control. A
basis whose spread stays is another network."""


def bases(runs: Runs) -> str:
    """Returns the tables, and draws the pictures."""
    rows = [{**row, "kind": _kind(row)} for row in runs.rows]
    for suffix, y in (("a", "test_accuracy"), ("b", "robust_accuracy")):
        draw_sweep(runs, suffix, rows, "expansion", y)
    combined = [row for row in rows if row["operator"] == "lc_frozen"]
    names = dict.fromkeys(row["basis"] for row in combined)
    examples = {name: _example(name) for name in names if name in BASES}
    if examples:
        plot_kernels(examples, runs.picture("c"), title="the first filters of each basis")
    return "\n\n".join(
        [
            *(
                pivot(rows, value, "expansion", "kind", f"{heading}, E", write)
                for value, (heading, write) in _MEASURED.items()
            ),
            _PREDICTION,
            pivot(_spreads(runs, combined), "spread", "expansion", "kind", "spread, E", plain),
            "Accuracy minus the control's at the same E, in percentage points:",
            pivot(_to_control(rows, combined), "lead", "expansion", "kind", "E", _signed),
        ]
    )


def _kind(row):
    if row["operator"] == "lc_frozen":
        return f"{row['basis']} basis"
    return {"gram_limit": _CONTROL, "learned": _LEARNED}.get(row["operator"], row["operator"])


def _example(name):
    return keras_lc.bases.get(name)(0, (7, 7, 1, 16), 1)


def _spreads(runs, combined):
    found = []
    for row in one_seed(combined):
        layers = trained_model(runs, row).layers
        spreads = [
            gram_spread(layer.basis)
            for layer in layers
            if getattr(layer, "combination", None) is not None
        ]
        found.append({**row, "spread": float(np.mean(spreads))})
    return found


def _to_control(rows, combined):
    """Returns the rows of LC with their lead over the mean of the control."""
    control = means(rows, "test_accuracy", "expansion", "kind")
    return [
        {**row, "lead": row["test_accuracy"] - control[row["expansion"], _CONTROL]["mean"]}
        for row in combined
        if (row["expansion"], _CONTROL) in control
    ]


def _signed(mean, deviation, runs):
    text = percent(mean, deviation, runs)
    return text if text.startswith("-") else f"+{text}"
