import numpy as np
import pytest
from PIL import Image

import keras_lc
from keras_lc.analysis import (
    plot_curves,
    plot_filters,
    plot_kernels,
    plot_spatial_variance,
    plot_sweep,
)
from keras_lc.analysis.plots import filter_mosaic

pytestmark = pytest.mark.once


def pixels(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def model():
    return keras_lc.ResNetLC(depth=8, width=4, expansion=3, seed=0)


def test_curves_are_drawn_in_the_colours_of_training_and_test(tmp_path):
    history = {"loss": [2.0, 1.0], "accuracy": [0.3, 0.6], "val_loss": [2.1, 1.4]}
    picture = pixels(plot_curves(history, tmp_path / "curves.png")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (picture == colour).all(axis=1).any()


def test_filters_of_the_stem_are_drawn_in_colour(model, tmp_path):
    picture = pixels(plot_filters(model, tmp_path / "stem.png")).astype(int)
    assert np.ptp(picture, axis=-1).max() > 100


def test_picture_follows_the_weights(model, tmp_path):
    other = keras_lc.ResNetLC(depth=8, width=4, expansion=3, seed=1)
    name = "stage1_block0_conv1"
    first, again, second = (
        pixels(plot_filters(which, tmp_path / f"{i}.png", layer=name))
        for i, which in enumerate((model, model, other))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


NAME = "cost$\\x$"


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: plot_curves({"loss": [2.0], "accuracy": [0.5]}, path, title=NAME),
        lambda path: plot_sweep(
            [{"x": 1, "y": 2.0, NAME: NAME}], path, x="x", y="y", group=NAME, x_label=NAME,
            y_label=NAME, title=NAME,
        ),
        lambda path: plot_kernels({NAME: {NAME: np.ones((3, 3, 1, 2))}}, path, title=NAME),
        lambda path: plot_spatial_variance({NAME: {NAME: np.ones((3, 3))}}, path, title=NAME),
    ],
    ids=["curves", "sweep", "kernels", "spatial variance"],
)  # fmt: skip
def test_names_are_plain_text_and_no_formulas(draw, tmp_path):
    assert np.ptp(pixels(draw(tmp_path / "picture.png"))) > 100


def test_no_temporary_file_is_left(model, tmp_path):
    plot_filters(model, tmp_path / "stem.png")
    assert [path.name for path in tmp_path.iterdir()] == ["stem.png"]


@pytest.mark.parametrize("layer", ["stem_bn", "nowhere"])
def test_layer_must_be_an_lc_layer(layer, model, tmp_path):
    with pytest.raises(ValueError, match=rf"has \['stage1_.*Received: layer='{layer}'"):
        plot_filters(model, tmp_path / "no.png", layer=layer)


def test_model_must_have_lc_layers(tmp_path):
    with pytest.raises(ValueError, match=r"model has \[\]"):
        plot_filters(keras_lc.CIFARResNet(depth=8), tmp_path / "no.png")


# --- sweeps ---

ROWS = [
    {"operator": operator, "expansion": expansion, "seed": seed, "test_accuracy": accuracy}
    for operator, expansion, accuracy in (
        ("LC frozen", 1, 0.6),
        ("LC frozen", 8, 0.7),
        ("LC frozen", 128, 0.8),
        ("learned", None, 0.75),
    )
    for seed, accuracy in ((0, accuracy - 0.02), (1, accuracy + 0.02))
]


def axis_of_sweep(monkeypatch, *args, **options):
    """Draws a sweep and returns its axis, which is closed only when the picture is saved."""
    kept = []

    def keep(figure, path, dpi):
        kept.append(figure.axes[0])
        return path

    monkeypatch.setattr("keras_lc.analysis.plots._save", keep)
    plot_sweep(*args, **options)
    return kept[0]


def test_sweep_draws_means_over_seeds_in_percent_with_deviations(monkeypatch):
    axis = axis_of_sweep(monkeypatch, ROWS, "", "expansion", "test_accuracy", group="operator")
    line, reference = axis.lines[0], axis.lines[-1]
    np.testing.assert_array_equal(line.get_xdata(), [1, 8, 128])
    np.testing.assert_allclose(list(line.get_ydata()), [60, 70, 80])
    bars = axis.containers[0].lines[2][0].get_segments()
    # The sample standard deviation of two values 4 apart.
    np.testing.assert_allclose([np.ptp(bar[:, 1]) for bar in bars], 2 * 4 / np.sqrt(2))
    np.testing.assert_allclose(reference.get_ydata(), [75, 75])
    assert axis.get_xscale() == "log"
    assert axis.get_ylabel() == "test accuracy (%)"
    assert [text.get_text() for text in axis.figure.legends[0].texts] == ["LC frozen", "learned"]


def test_legend_hides_no_point_and_no_error_bar(monkeypatch):
    axis = axis_of_sweep(monkeypatch, ROWS, "", "expansion", "test_accuracy", group="operator")
    axis.figure.canvas.draw()
    (legend,) = axis.figure.legends
    assert axis.get_legend() is None
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())


def test_sweep_does_not_average_over_what_is_not_named():
    mixed = [row | {"seed": 0} for row in ROWS]
    with pytest.raises(ValueError, match="seed 0, so they differ in something else"):
        plot_sweep(mixed, "no.png", "expansion", "test_accuracy", group="operator")


def test_sweep_needs_a_number_to_draw_over():
    with pytest.raises(ValueError, match=r"`x` must be the key of a number.*x='operator'"):
        plot_sweep(ROWS, "no.png", "operator", "test_accuracy", group="expansion")


def test_lines_are_named_by_the_settings_that_they_have(monkeypatch):
    rows = [
        {"operator": operator, "expansion": expansion, "epochs": epochs, "seed": 0, "accuracy": 0.5}
        for operator, expansion in (("LC", 8), ("learned", None))
        for epochs in (5, 10)
    ]
    axis = axis_of_sweep(
        monkeypatch, rows, "", "epochs", "accuracy", group=["operator", "expansion"]
    )
    names = [text.get_text() for text in axis.figure.legends[0].texts]
    assert names == ["LC, expansion 8", "learned"]
    axis = axis_of_sweep(monkeypatch, rows, "", "epochs", "accuracy", group="expansion")
    names = [text.get_text() for text in axis.figure.legends[0].texts]
    assert names == ["expansion 8", "no expansion"]


def test_many_lines_differ_in_colour_or_marker_and_are_named_beside_the_picture(monkeypatch):
    rows = [
        {"name": f"line {i}", "expansion": e, "seed": 0, "accuracy": i / 20}
        for i in range(12)
        for e in (1, 2)
    ]
    axis = axis_of_sweep(monkeypatch, rows, "", "expansion", "accuracy", group="name")
    lines = [container.lines[0] for container in axis.containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12
    (legend,) = axis.figure.legends
    assert axis.get_legend() is None and len(legend.texts) == 12


def test_a_plotted_sweep_has_a_line_of_the_first_colour(tmp_path):
    path = plot_sweep(ROWS, tmp_path / "sweep.png", "expansion", "test_accuracy", group="operator")
    assert (pixels(path) == (0x00, 0x72, 0xB2)).all(axis=-1).any()


# --- kernels and heatmaps ---


def test_mosaic_shows_each_filter_on_its_own_scale():
    kernel = np.zeros((3, 3, 3, 4))
    kernel[0, 0, 0] = [1, -1, 0.001, 0]
    mosaic = filter_mosaic(kernel, count=4)
    tile = (mosaic.shape[0] + 4) // 2
    corners = mosaic[::tile, ::tile].reshape(4, 3)
    np.testing.assert_allclose(corners, [[1, 0.5, 0.5], [0, 0.5, 0.5], [1, 0.5, 0.5], [0.5] * 3])


def test_kernels_are_drawn_in_rows_of_any_length(tmp_path):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 8))
    rows = {"frozen": {"E = 1": kernel, "E = 8": kernel}, "learned": {"plain": kernel}}
    two = pixels(plot_kernels(rows, tmp_path / "two.png"))
    one = pixels(plot_kernels(rows["frozen"], tmp_path / "one.png"))
    assert two.shape[0] > 1.6 * one.shape[0]


@pytest.mark.parametrize("draw", [plot_kernels, plot_spatial_variance])
def test_nothing_to_draw_is_refused(draw, tmp_path):
    with pytest.raises(ValueError, match="must be a dict from titles to arrays"):
        draw({}, tmp_path / "no.png")
    with pytest.raises(ValueError, match=r"axes\. Received: shape \(3,\) for 'a'"):
        draw({"a": np.zeros(3)}, tmp_path / "no.png")


def test_heatmaps_share_one_scale(tmp_path):
    low, high = np.full((3, 3), 0.5), np.full((3, 3), 2.0)
    picture = pixels(plot_spatial_variance({"low": low, "high": high}, tmp_path / "heat.png"))
    # The lighter end of the colours is the larger variance; 0.5 is far from it.
    brightest = (picture[:, :, 0] > 240) & (picture[:, :, 2] < 120)
    places = np.flatnonzero(brightest.any(axis=0))
    assert places.min() > picture.shape[1] / 3
