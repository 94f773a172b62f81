"""What the included bases promise of their filters."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import scipy.fft

from keras_lc import bases
from keras_lc.layers.initializers import fan_in_uniform
from keras_lc.seeds import fingerprint

pytestmark = pytest.mark.once

BASES = {
    "uniform": bases.Uniform(),
    "normal": bases.Normal(),
    "orthogonal": bases.Orthogonal(),
    "sparse": bases.Sparse(),
    "sparse, 1 tap": bases.Sparse(taps=1),
    "dct": bases.DCT(),
    "dct, 2 frequencies": bases.DCT(frequencies=2),
    "gabor": bases.Gabor(),
}
SHAPE = (3, 3, 16, 128)
each = pytest.mark.parametrize("name", BASES)

# Of what a file's fingerprint is of. They are promised to stay: files would not load else.
BITS = {
    "uniform": "90093d09f03e1c51",
    "normal": "5a21333a0806d14f",
    "orthogonal": "4120901deed4c9ad",
    "sparse": "9bfa1ccfc1cf4c8d",
    "sparse, 1 tap": "17b0d05a0316fd0a",
    "dct": "a9bdf26c851898ef",
    "dct, 2 frequencies": "50980175c3a1a8aa",
    "gabor": "d90c7a97fdf14cf0",
}


@each
def test_bits_do_not_change(name):
    assert f"{fingerprint(BASES[name].draw(2301, SHAPE)):016x}" == BITS[name]


@each
@pytest.mark.parametrize(
    "shape",
    [(3, 3, 64, 256), (5, 7, 3, 2048), (1, 1, 256, 64), (9, 8, 1024), (3, 2, 4, 8, 1024)],
)
def test_variance_is_that_of_the_papers_basis(name, shape):
    filters = BASES[name](1, shape).astype("float64")
    # The numbers that are drawn: DCT and Gabor have one a channel, and Sparse a few a filter.
    independent = min(math.prod(shape[-2:]), shape[-1] * getattr(BASES[name], "taps", 1 << 30))
    expected = 1 / (3 * math.prod(shape[:-1]))
    np.testing.assert_allclose((filters**2).mean(), expected, rtol=6 / np.sqrt(independent))
    assert abs(filters.mean()) < 6 * np.sqrt(expected / independent)


@each
def test_filters_are_a_function_of_seed_and_shape(name):
    basis = BASES[name]
    np.testing.assert_array_equal(basis(1, SHAPE), basis(1, SHAPE))
    assert (basis(1, SHAPE) != basis(2, SHAPE)).any()
    assert basis(1, SHAPE).dtype == np.float32


@each
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1), (1, 3, 2, 5), (4, 2, 1, 3), (9, 9, 1, 4), (1, 1, 1), (5, 2, 3), (3, 1, 2, 1, 4)],
)
def test_every_shape_has_filters(name, shape):
    filters = BASES[name](3, shape, groups=1)
    assert filters.shape == shape and np.isfinite(filters).all() and filters.any()


@each
def test_config_brings_the_basis_back(name):
    config = keras.saving.serialize_keras_object(BASES[name])
    assert keras.saving.deserialize_keras_object(config) == BASES[name]


def test_groups_of_the_default_are_drawn_at_once():
    np.testing.assert_array_equal(bases.Uniform()(7, SHAPE, 4), fan_in_uniform(7, SHAPE))


@pytest.mark.parametrize("name", ["orthogonal", "dct", "gabor", "sparse"])
def test_groups_are_bases_of_their_own(name):
    filters = BASES[name](7, SHAPE, groups=2)
    first, second = filters[..., :64], filters[..., 64:]
    assert (first != second).any()
    if name == "orthogonal":
        flat = first.reshape(-1, 64).astype("float64")
        np.testing.assert_allclose(flat.T @ flat, np.eye(64) / 3, atol=1e-6)


@pytest.mark.parametrize("filters", [5, 36, 100])
def test_orthogonal_rows_or_filters_are_orthogonal_and_of_one_length(filters):
    flat = bases.Orthogonal()(1, (3, 3, 4, filters)).reshape(36, filters).astype("float64")
    if filters > 36:
        np.testing.assert_allclose(flat @ flat.T, filters / 108 * np.eye(36), atol=1e-6)
    else:
        np.testing.assert_allclose(flat.T @ flat, np.eye(filters) / 3, atol=1e-6)


def test_orthogonal_filters_have_no_direction():
    """Without the signs of the factorization, the first numbers would have one."""
    firsts = [bases.Orthogonal()(seed, (1, 1, 8, 8))[0, 0, 0, 0] for seed in range(400)]
    assert abs(np.mean(firsts)) < 4 * np.std(firsts) / 20


@pytest.mark.parametrize("taps", [1, 4, 200])
def test_sparse_filters_have_their_taps_everywhere_alike(taps):
    flat = bases.Sparse(taps)(1, (3, 3, 4, 9000)).reshape(36, 9000)
    np.testing.assert_array_equal((flat != 0).sum(0), min(taps, 36))
    if taps < 36:
        share = taps / 36
        counts = (flat != 0).sum(1)
        assert (abs(counts - 9000 * share) < 5 * np.sqrt(9000 * share * (1 - share))).all()


def cosines(height, width, u, v):
    """The picture of `u` and `v` half waves, of mean square 1."""
    rows = np.cos(np.pi * (2 * np.arange(height) + 1) * u / (2 * height))
    columns = np.cos(np.pi * (2 * np.arange(width) + 1) * v / (2 * width))
    picture = rows[:, None] * columns
    return picture / np.sqrt((picture**2).mean())


@pytest.mark.parametrize("area", [(7,), (3, 4), (3, 2, 4)])
@pytest.mark.parametrize("frequencies", [None, 3])
def test_dct_filters_have_one_frequency_in_every_dimension(area, frequencies):
    filters = bases.DCT(frequencies)(1, (*area, 2, 24))
    sides = tuple(range(len(area)))
    waves = scipy.fft.dctn(filters.astype("float64"), axes=sides, norm="ortho")
    largest = abs(waves).max(axis=sides)
    assert (np.sum(abs(waves) > 1e-6 * largest, axis=sides) == 1).all()
    places = np.argwhere(abs(waves[..., 0, :]) > 1e-6 * largest[0])[:, :-1]
    chosen = {tuple(place) for place in places}
    assert chosen == {p for p in np.ndindex(*area) if frequencies is None or sum(p) < frequencies}


@pytest.mark.parametrize("area", [(9,), (9, 9, 9)])
def test_gabor_waves_have_every_direction_and_unit_steps(area):
    filters = bases.Gabor()(1, (*area, 1, 400))[..., 0, :].astype("float64")
    # The wave that is nearest: the largest place of the spectrum, with finer steps than pixels.
    spectrum = abs(np.fft.fftn(filters, s=[32] * len(area), axes=range(len(area))))
    peaks = spectrum.reshape(-1, 400).argmax(axis=0)
    steps = np.fft.fftfreq(32)[np.array(np.unravel_index(peaks, [32] * len(area)))]
    lengths = np.linalg.norm(steps, axis=0)
    assert lengths.min() < 0.15 and 0.45 < lengths.max() < 0.56
    waves = steps[:, lengths > 0.2]
    # As many waves along each side as along the others.
    np.testing.assert_allclose(
        (waves**2).mean(1) / (waves**2).sum(0).mean(), 1 / len(area), atol=0.06
    )


@pytest.mark.parametrize(("frequencies", "number"), [(None, 20), (1, 1), (3, 6)])
def test_dct_filters_are_cosines_that_take_turns(frequencies, number):
    filters = bases.DCT(frequencies)(1, (5, 4, 2, 40)).astype("float64")
    found = []
    for index in range(40):
        first, second = filters[..., 0, index], filters[..., 1, index]
        for u, v in np.ndindex(5, 4):
            picture = cosines(5, 4, u, v)
            weights = [(channel * picture).mean() for channel in (first, second)]
            if abs(weights[0] * picture - first).max() < 1e-7:
                np.testing.assert_allclose(weights[1] * picture, second, atol=1e-7)
                found.append((u, v))
    assert len(found) == 40
    assert len(set(found)) == number == len(set(found[:number]))
    assert found[number:] == found[: 40 - number]
    if frequencies:
        assert all(u + v < frequencies for u, v in found)


def test_gabor_filters_are_one_picture_in_all_channels_with_its_waves_in_the_middle():
    filters = bases.Gabor()(1, (9, 9, 3, 50)).astype("float64")
    flat = filters.reshape(81, 3, 50)
    for index in range(50):
        assert np.linalg.matrix_rank(flat[..., index], tol=1e-6) == 1
    energy = (filters**2).sum((2, 3))
    assert energy[3:6, 3:6].mean() > 4 * energy[[0, 0, 8, 8], [0, 8, 0, 8]].mean()


def test_isotropic_bases_have_the_gram_matrix_of_the_papers_and_others_have_not():
    """What a frozen LC layer is preconditioned by; see `keras_lc.layers.compact_basis`."""
    shape, spread = (3, 3, 2, 18_000), {}
    for name, basis in BASES.items():
        flat = basis(1, shape).reshape(18, -1).astype("float64")
        values = np.linalg.eigvalsh(flat @ flat.T)
        spread[name] = values[-1] / max(values[0], 1e-9)
    isotropic = {name for name, value in spread.items() if value < 1.5}
    assert isotropic == set(BASES) - {"dct, 2 frequencies", "gabor"}
    assert spread["orthogonal"] < 1 + 1e-5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bases.Sparse(taps=0), "`taps` must be an integer of at least 1.*taps=0"),
        (lambda: bases.Sparse(taps=1.5), "`taps` must be .*taps=1.5"),
        (lambda: bases.DCT(frequencies=0), "`frequencies` must be .*frequencies=0"),
        (lambda: bases.get("fourier"), r"`basis` must be one of \('uniform', .*'fourier'"),
        (lambda: bases.get(3), "`basis` must be one of .*basis=3"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_are_those_of_the_classes_and_what_differs():
    names = {name: bases.get(name).name for name in ("uniform", "normal", "orthogonal", "gabor")}
    assert all(name == value for name, value in names.items())
    assert bases.Sparse(taps=2).name == "sparse_taps_2"
    assert bases.DCT().name == "dct" and bases.DCT(3).name == "dct_frequencies_3"
    assert dataclasses.replace(bases.DCT(3), frequencies=None) == bases.get("dct")
