"""The autoencoder: an optional extra to train, NumPy to apply."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from segmentation_assets.segmentation.algorithms.autoencoder import Autoencoder
from segmentation_assets.segmentation.algorithms.base import AlgorithmUnavailableError, ClusteringError
from segmentation_assets.segmentation.algorithms.embedding import AutoencoderClusterer
from segmentation_assets.segmentation.algorithms.registry import thaw

NEEDS_TORCH = "PyTorch trains the autoencoder and is an optional extra: pip install -e '.[autoencoder]'"


def curved(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three groups along a curve in six columns of unit variance."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    length = (group + rng.uniform(0.2, 0.8, n)) / 3
    waves = [np.sin(np.pi * step * length) for step in (0.5, 1.0, 1.5, 2.0)]
    values = np.column_stack([length, *waves, length**2]) + rng.normal(0, 0.05, (n, 6))
    return (values - values.mean(axis=0)) / values.std(axis=0), group


def test_without_pytorch_the_way_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(AlgorithmUnavailableError) as refusal:
        AutoencoderClusterer(3).fit(curved()[0])
    assert str(refusal.value) == (
        "The autoencoder is trained by PyTorch, which is not installed; install it with "
        "pip install -e '.[autoencoder]', or choose another algorithm."
    )


def test_pytorch_is_not_imported_before_a_network_is_trained() -> None:
    code = "import sys, segmentation_assets.segmentation.algorithms.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_frozen_network_is_applied_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    frozen = {
        "parameters": {"n_components": 1, "random_state": 0},
        "shift": [1.0, 2.0],
        "scale": 2.0,
        "layers": [[[[1.0], [0.5]], [0.1]], [[[3.0]], [-1.0]]],
        "epochs": 3,
        "explained": 0.5,
    }
    network = Autoencoder.from_dict(frozen)
    values = np.array([[1.0, 2.0], [3.0, 6.0]])
    assert network.transform(values) == pytest.approx(3 * np.tanh(np.array([[0.1], [1 + 1.0 + 0.1]])) - 1)
    assert network.to_dict()["layers"] == frozen["layers"]


@pytest.mark.parametrize("variational", [False, True])
def test_training_is_repeatable_and_leaves_pytorch_as_it_was(variational: bool) -> None:
    torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
    values, _ = curved(200)
    torch.manual_seed(5)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    network = Autoencoder(2, variational=variational, epochs=5, random_state=1)
    first = network.fit(values).to_dict()
    assert clone(network).fit(values).to_dict() == first
    assert clone(network).set_params(random_state=2).fit(values).to_dict() != first
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("variational", [False, True])
def test_groups_along_a_curve_are_found_and_assigned_without_pytorch(
    variational: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    values, group = curved()
    model = AutoencoderClusterer(3, variational=variational).fit(values)
    assert adjusted_rand_score(group, model.labels_) > 0.7
    assert model.remark_.startswith("a code of 2 for 6 columns rebuilds ")
    monkeypatch.setitem(sys.modules, "torch", None)
    thawed = thaw(json.loads(json.dumps(model.to_dict())))
    assert np.array_equal(thawed.predict(values), model.labels_)
    assert np.array_equal(thawed.embed(values), model.embed(values))
    assert model.embed(values).shape == (600, 2)


def test_training_stops_early_and_keeps_the_weights_that_were_best_on_unseen_rows() -> None:
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    noise = np.random.default_rng(0).normal(size=(60, 6))
    network = Autoencoder(5, epochs=400).fit(noise)
    assert network.epochs_ < 400
    assert network.explained_ > -0.2
    signal = Autoencoder(2, epochs=100).fit(curved()[0])
    assert signal.explained_ > 0.8


def test_columns_far_from_zero_are_embedded_like_centred_ones() -> None:
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    values, _ = curved(200)
    near, far = (Autoencoder(2, epochs=3).fit(rows).transform(rows) for rows in (values, 8 * values + 1024))
    assert near == pytest.approx(far, abs=1e-3)


def test_too_few_rows_to_train_and_validate_are_refused() -> None:
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    with pytest.raises(ClusteringError) as refusal:
        AutoencoderClusterer(2).fit(np.arange(19.0)[:, None])
    assert str(refusal.value) == "An autoencoder needs 20 rows to train and validate on; there are 19."


def test_one_column_has_a_code_of_one() -> None:
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    values = np.repeat([[-1.0], [1.0]], 50, axis=0) + np.random.default_rng(0).normal(0, 0.1, (100, 1))
    model = AutoencoderClusterer(2).fit(values)
    assert adjusted_rand_score(np.arange(100) >= 50, model.labels_) == 1
