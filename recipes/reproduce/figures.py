"""Renders each table and figure. Those of the LC paper are here. Imports Keras."""

import itertools
import pathlib

import numpy as np

from keras_lc.analysis import gap, plot_kernels, plot_spatial_variance, spatial_kernels

from ..common.files import DamagedFile, read_checked
from . import bases, parameter_free
from . import numbers as paper
from .render import (
    Runs,
    beside_paper,
    break_even,
    draw_beside_paper,
    draw_series,
    draw_sweep,
    draw_trade_off,
    markdown_table,
    means,
    measured,
    one_seed,
    percent,
    pivot,
    plain,
    trained_model,
    whole,
)

_FROZEN, _LEARNABLE, _PLAIN = paper.LC_FROZEN, paper.LC_LEARNABLE, paper.LEARNED
# What stands beside the accuracy of a run: its name, and how it is written.
_ELSE = {
    "train_accuracy": ("training accuracy (%)", percent),
    "train_test_gap": ("training minus test (%)", percent),
    "robust_accuracy": ("FGSM (%)", percent),
    "pgd_accuracy": ("PGD (%)", percent),
    "variance_entropy_normalized_first": ("entropy, first layer (random = 1)", plain),
    "variance_entropy_normalized_last": ("entropy, last layer (random = 1)", plain),
    "sparsity": ("sparsity (%)", percent),
    "hours": ("training (h)", plain),
}
_SIZES = {
    "trained_parameters": ("trained numbers", whole),
    "file_bytes": ("bytes of the file", whole),
    "test_accuracy": ("accuracy (%)", percent),
    "train_accuracy": ("training accuracy (%)", percent),
    "train_test_gap": ("training minus test (%)", percent),
}


def table(runs: Runs, row: str, names: dict, numbers: dict) -> str:
    """Tables 1 and 3: accuracy by a setting and the operator, with the paper's numbers."""
    rows = [{**found, "line": names.get(found[row], found[row])} for found in runs.rows]
    found = means(rows, "test_accuracy", "line", "kind")
    draw_beside_paper(found, numbers, runs.picture())
    return beside_paper(found, numbers)


def table_1(runs: Runs) -> str:
    rows = [
        {**row, "line": f"{paper.DATASETS.get(row['dataset'], row['dataset'])}, {row['kind']}"}
        for row in runs.rows
    ]
    return "\n\n".join(
        [
            table(runs, "dataset", paper.DATASETS, paper.TABLE_1),
            "What else was measured:",
            measured(rows, "line", _ELSE),
        ]
    )


def table_3(runs: Runs) -> str:
    return table(runs, "between", paper.BETWEEN, paper.TABLE_3)


def table_2(runs: Runs) -> str:
    found = {}
    rows = [
        {
            **row,
            # Presets that are not in the paper's table keep their name.
            "line": paper.TABLE_2_NETWORKS.get(row["network"], row["network"]),
            "trained": "frozen" if row["operator"] in ("frozen", "lc_frozen") else "learnable",
        }
        for row in runs.rows
    ]
    for value, top in (("test_accuracy", "top-1"), ("top5_accuracy", "top-5")):
        for (line, trained), point in means(rows, value, "line", "trained").items():
            found[line, f"{trained}, {top}"] = point
    draw_beside_paper(found, paper.TABLE_2, runs.picture())
    return beside_paper(found, paper.TABLE_2)


def figure_1(runs: Runs) -> str:
    parts = []
    for suffix, part, names in (
        ("a", "CIFAR-10", paper.NETWORKS),
        ("b", "ImageNet", paper.IMAGENET_NETWORKS),
    ):
        rows = [
            {**row, "line": names.get(row["network"], row["network"])} for row in runs.parts[part]
        ]
        if not rows:
            continue
        found = means(rows, "test_accuracy", "line", "kind")
        draw_series(found, runs.picture(suffix), part, paper.COMBINING)
        drops = []
        for line in dict.fromkeys(line for line, _ in found):
            pair = [found.get((line, kind)) for kind in (_PLAIN, paper.FROZEN)]
            drop = f"{100 * (pair[0]['mean'] - pair[1]['mean']):.2f}" if all(pair) else "-"
            drops.append([line, paper.FIGURE_1_DROPS.get((rows[0]["dataset"], line), "-"), drop])
        parts += [
            pivot(rows, "test_accuracy", "line", "kind", f"{part}, accuracy (%)"),
            "What freezing costs, in percentage points:",
            markdown_table([part, "paper", "here"], drops),
        ]
    return "\n\n".join(parts)


def figure_4(runs: Runs) -> str:
    for suffix, x, y in (
        ("a", "expansion", "test_accuracy"),
        ("b", "full_parameters", "test_accuracy"),
        ("c", "expansion", "robust_accuracy"),
    ):
        rows, label = runs.rows, None
        if suffix == "b":
            # The control has the same number of parameters at each expansion.
            rows = [r for r in rows if r[x] is not None and r["operator"] != "gram_limit"]
            label = "trained parameters, without the compact form"
        draw_sweep(runs, suffix, rows, x, y, x_label=label)

    def even(y, first, second):
        return break_even(runs.rows, "expansion", y, first, second)

    clean, attacked = "test_accuracy", "robust_accuracy"
    return "\n\n".join(
        [
            beside_paper(
                means(runs.rows, clean, "expansion", "kind"), paper.FIGURE_4, "accuracy (%), E"
            ),
            pivot(runs.rows, attacked, "expansion", "kind", "under attack (%), E"),
            pivot(runs.rows, "train_test_gap", "expansion", "kind", "training minus test (%), E"),
            _claims(
                ("LC frozen above LC learnable", "from E = 8 on", even(clean, _FROZEN, _LEARNABLE)),
                ("LC frozen above learned", "E = 128", even(clean, _FROZEN, _PLAIN)),
                ("LC learnable above learned", "nowhere", even(clean, _LEARNABLE, _PLAIN)),
                ("LC frozen beyond E = 128", "slightly below E = 128, above LC learnable",
                 _beyond_128(runs.rows)),
                ("training minus test, largest E",
                 "LC frozen below learned: it generalizes better, and overfits less",
                 _at_largest(runs.rows, "train_test_gap", percent)),
                ("LC frozen above LC learnable, under attack", "eventually",
                 even(attacked, _FROZEN, _LEARNABLE)),
                ("LC frozen above learned, under attack", "eventually",
                 even(attacked, _FROZEN, _PLAIN)),
            ),
        ]
    )  # fmt: skip


def figure_5(runs: Runs) -> str:
    tables = []
    for suffix, place in (("a", "first"), ("b", "last")):
        y = f"variance_entropy_normalized_{place}"
        label = f"variance entropy, {place} layer (random = 1)"
        draw_sweep(runs, suffix, runs.rows, "expansion", y, y_label=label)
        tables.append(pivot(runs.rows, y, "expansion", "kind", f"{place} layer, E", plain))
    return "\n\n".join(
        [
            *tables,
            _claims(
                ("first layer, largest E",
                 "LC frozen slightly below learned, well above LC learnable",
                 _at_largest(runs.rows, "variance_entropy_normalized_first")),
                ("last layer, largest E", "LC frozen above learned, which is above LC learnable",
                 _at_largest(runs.rows, "variance_entropy_normalized_last")),
            ),
        ]
    )  # fmt: skip


def figure_6(runs: Runs) -> str:
    parts = []
    for part, label, place in (("width", "W", 128), ("depth", "D", 260)):
        rows = runs.parts[part]
        if not rows:
            continue
        suffix = {"width": "a", "depth": "b"}[part]
        draw_sweep(runs, suffix, rows, part, "test_accuracy")
        parts.append(pivot(rows, "test_accuracy", part, "kind", f"accuracy (%), {label}"))
        even = break_even(rows, part, "test_accuracy", _FROZEN, _LEARNABLE)
        parts.append(_claims(("LC frozen above LC learnable", f"near {label} = {place}", even)))
    return "\n\n".join(parts)


def figure_7(runs: Runs) -> str:
    kernels, others = {}, {}
    for row in one_seed(runs.rows):
        model = trained_model(runs, row)
        stem = next(iter(spatial_kernels(model).values()))
        if row["kind"] == _FROZEN:
            kernels.setdefault("random", _random_filters(model))
            kernels[f"E = {row['expansion']}"] = stem
        else:
            others[row["kind"]] = stem
    # Last, as in the paper.
    kernels |= others
    plot_kernels(kernels, runs.picture(), count=16)
    return "Combinations of more and more random filters, and learned filters. One seed."


def figure_8(runs: Runs) -> str:
    # Pairs of runs that differ in the operator only.
    match = ["expansion", "kernel_size", "seed"]
    pairs = []
    if _have_pairs(runs.rows, match):
        pairs = gap(runs.rows, "test_accuracy", ("kind", _FROZEN, _LEARNABLE), match)
        draw_sweep(runs, "a", pairs, "expansion", "test_accuracy_gap", group="kernel_size")
    claims = [
        ("LC frozen minus LC learnable, smallest E", "falls as the kernels grow",
         _gap_by_size(pairs))
    ]  # fmt: skip
    for size in sorted({row["kernel_size"] for row in runs.rows}):
        rows = [row for row in runs.rows if row["kernel_size"] == size]
        claims.append(
            (f"{size}x{size}: LC frozen above LC learnable", "eventually",
             break_even(rows, "expansion", "test_accuracy", _FROZEN, _LEARNABLE))
        )  # fmt: skip
    largest = max((row["expansion"] for row in runs.rows if row["expansion"]), default=None)
    maps = _heatmaps(runs, largest)
    if maps:
        caption = f"combined kernels, E = {largest}, one seed"
        plot_spatial_variance(maps, runs.picture("b"), caption)
    for kind, claim in (
        (_FROZEN, "1: uniform at every kernel size"),
        (_LEARNABLE, "above 1, more so with large kernels"),
    ):
        ratios = [
            f"{size} {_centre_over_border(map):.2f}" for size, map in maps.get(kind, {}).items()
        ]
        claims.append(
            (f"{kind}: variance in the centre over that at the border, largest E", claim,
             ", ".join(ratios) or "not measured")
        )  # fmt: skip
    return "\n\n".join(
        [
            "LC frozen minus LC learnable, in percentage points, run by run:",
            pivot(pairs, "test_accuracy_gap", "expansion", "kernel_size", "E, kernel size"),
            _claims(*claims),
        ]
    )


def _gap_by_size(pairs):
    """Returns the gap of each kernel size at the smallest expansion."""
    if not pairs:
        return "not run"
    smallest = min(pair["expansion"] for pair in pairs)
    found = means(pairs, "test_accuracy_gap", "expansion", "kernel_size")
    gaps = {size: 100 * point["mean"] for (e, size), point in found.items() if e == smallest}
    sizes = sorted(gaps)
    text = ", ".join(f"{size}x{size} {gaps[size]:+.2f}" for size in sizes)
    falls = all(gaps[a] > gaps[b] for a, b in itertools.pairwise(sizes))
    verdict = "" if len(sizes) < 2 else ": falls" if falls else ": does not fall at each step"
    return f"E = {smallest}: {text}{verdict}"


def _centre_over_border(heatmap):
    rows, columns = heatmap.shape
    border = np.ones_like(heatmap, bool)
    border[1:-1, 1:-1] = False
    return heatmap[rows // 2, columns // 2] / heatmap[border].mean()


def figure_10(runs: Runs) -> str:
    sizes = sorted({row["kernel_size"] for row in runs.rows})
    for suffix, size in zip("abcdefgh", sizes, strict=False):
        kernels = {}
        for row in one_seed(runs.rows):
            if row["kernel_size"] == size:
                stem = next(iter(spatial_kernels(trained_model(runs, row)).values()))
                kernels.setdefault(row["kind"], {})[f"E = {row['expansion']}"] = stem
        plot_kernels(kernels, runs.picture(suffix), title=f"{size}x{size} filters")
    return "Combined filters of the first layer. One seed."


def figure_11(runs: Runs) -> str:
    return _entropy_by_size(runs, "first")


def figure_12(runs: Runs) -> str:
    return _entropy_by_size(runs, "last")


def _entropy_by_size(runs, place):
    y = f"variance_entropy_{place}"
    tables = []
    for suffix, size in zip(
        "abcdefgh", sorted({r["kernel_size"] for r in runs.rows}), strict=False
    ):
        rows = [row for row in runs.rows if row["kernel_size"] == size]
        label = f"variance entropy, {place} layer"
        draw_sweep(runs, suffix, rows, "expansion", y, y_label=label, title=f"{size}x{size}")
        tables.append(pivot(rows, y, "expansion", "kind", f"{size}x{size}, E", plain))
    return "\n\n".join([f"Variance entropy of the {place} layer, not normalized:", *tables])


def weights(runs: Runs) -> str:
    rows = []
    for row in runs.rows:
        kind, size = row["kind"], f"E = {row['expansion']}"
        if row["operator"] == "learned":
            kind, size = "plain", f"width {row['width']}"
        elif row["shared_basis"]:
            kind += ", shared basis"
        rows.append({**row, "kind": kind, "line": f"{kind}, {size}"})
    draw_trade_off(
        rows,
        {
            "trained_parameters": "trained numbers",
            "file_bytes": "bytes of the file, without the optimizer",
        },
        runs.picture(),
    )
    return "\n\n".join(
        [
            measured(rows, "line", _SIZES),
            "The file is `model.keras` without the optimizer, as one gives it away. A file of LC "
            "networks holds no random filters, but the seeds of them.",
        ]
    )


RENDERERS = {
    "table1": table_1, "table2": table_2, "table3": table_3, "figure1": figure_1,
    "figure4": figure_4, "figure5": figure_5, "figure6": figure_6, "figure7": figure_7,
    "figure8": figure_8, "figure10": figure_10, "figure11": figure_11, "figure12": figure_12,
    "weights": weights,
    "bases": bases.bases,
    "pf_table_resnet": parameter_free.table_resnet,
    "pf_table_transformers": parameter_free.table_transformers,
    "pf_depthwise": parameter_free.depthwise,
}  # fmt: skip


def _have_pairs(rows, match):
    frozen, learnable = (
        {tuple(row[name] for name in match) for row in rows if row["kind"] == kind}
        for kind in (_FROZEN, _LEARNABLE)
    )
    return bool(frozen & learnable)


def _claims(*rows):
    return markdown_table(["", "paper", "here"], rows)


def _beyond_128(rows):
    """Returns how far LC frozen is, beyond E = 128, from E = 128 and from LC learnable."""
    found = means(rows, "test_accuracy", "expansion", "kind")
    places = sorted(e for e, kind in found if kind == _FROZEN and e is not None)
    beyond = [place for place in places if place > 128]
    if not beyond or 128 not in places:
        return f"not run (up to {max(places)})" if places else "not run"
    leads = []
    for place in beyond:
        mean = found[place, _FROZEN]["mean"]
        others = {"E = 128": found[128, _FROZEN], _LEARNABLE: found.get((place, _LEARNABLE))}
        leads.append(
            f"E = {place}: "
            + ", ".join(
                f"{100 * (mean - other['mean']):+.2f} to {name}"
                for name, other in others.items()
                if other
            )
        )
    return "; ".join(leads)


def _at_largest(rows, value, write=plain):
    """Returns a measured value of each kind, for LC at the largest expansion."""
    found = means(rows, value, "kind", "expansion")
    largest = max((e for _, e in found if e is not None), default=None)
    values = [
        f"{kind} {write(found[kind, e]['mean'], None)}"
        for kind, e in ((_FROZEN, largest), (_PLAIN, None), (_LEARNABLE, largest))
        if (kind, e) in found
    ]
    return f"E = {largest}: {', '.join(values)}" if values else "not measured"


def _random_filters(model):
    return next(
        layer.random_filters() for layer in model.layers if hasattr(layer, "random_filters")
    )


def _heatmaps(runs, expansion):
    """Figure 8b: rows of kinds, columns of kernel sizes."""
    rows = one_seed(runs.rows)
    maps = {}
    for kind in (_LEARNABLE, _FROZEN):
        for row in sorted(rows, key=lambda row: row["kernel_size"]):
            if (row["kind"], row["expansion"]) != (kind, expansion):
                continue
            if found := _heatmap(runs.folder / row["run"]):
                maps.setdefault(kind, {}).update(found)
    return maps


def _heatmap(run: pathlib.Path):
    try:
        written = read_checked(run / "evaluation.json") or {}
    except DamagedFile:
        # `collect` has already named this file.
        written = {}
    heatmaps = written.get("spatial_variance", {})
    return {size: np.array(values) for size, values in heatmaps.items()}
