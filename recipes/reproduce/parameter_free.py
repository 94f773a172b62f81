"""Renders each table of *Learning Features with Parameter-Free Layers*. Imports Keras."""

from . import numbers as paper
from .render import (
    Runs,
    beside_paper,
    draw_beside_paper,
    draw_trade_off,
    markdown_table,
    means,
    measured,
    percent,
    plain,
    whole,
)

# The columns of the first table: the key of a run, and how it is written.
_RESNET = {
    "parameters (M)": ("trained_parameters", lambda *point: f"{point[0] / 1e6:.1f}"),
    "FLOPs (G)": ("multiplications", lambda *point: f"{point[0] / 1e9:.1f}"),
    "ms": ("inference_milliseconds", lambda *point: f"{point[0]:.1f}"),
    "top-1 (%)": ("test_accuracy", percent),
    "top-5 (%)": ("top5_accuracy", percent),
}
_COST = {
    "trained_parameters": ("parameters", whole),
    "multiplications": ("multiplications", whole),
    "inference_milliseconds": ("ms for one image", plain),
}
_LAYERS = {
    "test_accuracy": ("accuracy (%)", percent),
    "train_test_gap": ("training minus test (%)", percent),
    "robust_accuracy": ("FGSM (%)", percent),
    "trained_parameters": ("parameters", whole),
    "multiplications": ("multiplications", whole),
    "images_per_second": ("training, images/s", whole),
}


def table_resnet(runs: Runs) -> str:
    rows = [
        {**row, "line": paper.PF_RESNETS.get(row["network"], row["network"]) + "+" * longer}
        for longer, part in enumerate(("R50", "longer"))
        for row in runs.parts[part]
    ]
    lines = list(dict.fromkeys(row["line"] for row in rows))
    table = {line: [line] for line in lines}
    accuracies, theirs = {}, {}
    for place, (column, (value, write)) in enumerate(_RESNET.items()):
        found = means([{**row, "column": column} for row in rows], value, "line", "column")
        for line in lines:
            point, number = found.get((line, column)), paper.PF_RESNET.get(line)
            table[line] += [
                write(point["mean"], point["deviation"], point["runs"]) if point else "-",
                number[place] if number else "-",
            ]
        if write is percent:
            accuracies |= found
            theirs |= {(name, column): (n[place], None) for name, n in paper.PF_RESNET.items()}
    draw_beside_paper(accuracies, theirs, runs.picture())
    header = ["", *(f"{column}, {whose}" for column in _RESNET for whose in ("here", "paper"))]
    return markdown_table(header, list(table.values()))


def table_transformers(runs: Runs) -> str:
    rows = [
        {
            **row,
            "line": paper.PF_TRANSFORMER_PRESETS.get(row["network"], row["network"]),
            "column": paper.PF_RECIPES[row["recipe"]],
        }
        for row in runs.rows
    ]
    found = means(rows, "test_accuracy", "line", "column")
    draw_beside_paper(found, paper.PF_TRANSFORMERS, runs.picture())
    # The recipe changes nothing of it.
    cost = list({row["line"]: row for row in rows}.values())
    lines = [row["line"] for row in cost]
    throughput = [[line, paper.PF_THROUGHPUT.get(line, "-")] for line in lines]
    return "\n\n".join(
        [
            beside_paper(found, paper.PF_TRANSFORMERS, "top-1 (%)"),
            "What the networks cost:",
            measured(cost, "line", _COST),
            "Images in a second in the paper, on two machines:",
            markdown_table(["", "paper"], throughput),
        ]
    )


def depthwise(runs: Runs) -> str:
    rows = [{**row, "line": row["kind"]} for row in runs.rows]
    draw_trade_off(
        rows,
        {
            "trained_parameters": "parameters",
            "multiplications": "multiplications",
            "images_per_second": "images in a second, in training",
        },
        runs.picture(),
    )
    return "\n\n".join(
        [
            measured(rows, "line", _LAYERS),
            "The paper says that parameter-free operations can replace the depthwise convolution; "
            "it shows this study as a picture.",
        ]
    )
