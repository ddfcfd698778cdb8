"""An autoencoder, plain or variational: trained by PyTorch, applied by NumPy.

PyTorch is an optional extra and is imported when a network is trained, never before. The weights are plain arrays
afterwards, so whoever only assigns customers needs no PyTorch. Clustering the code is `embedding`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from segmentation_assets.segmentation.algorithms.base import AlgorithmUnavailableError, ClusteringError
from segmentation_assets.segmentation.kmeans import Array, one_thread

HIDDEN = (32, 16)
FIT_ROWS = 10_000
_BATCH_ROWS = 512
_EPOCHS = 200
#: Epochs without a better validation loss before training stops.
_PATIENCE = 12
_LEARNING_RATE = 5e-3
_VALIDATION_SHARE = 0.1
#: Variance of the noise a variational network assumes around each rebuilt value, in units of the mean variance.
_NOISE = 0.1
_FEWEST_ROWS = 20
_BLOCK_ROWS = 65_536

Layer = tuple[Array, Array]


class Autoencoder(TransformerMixin, BaseEstimator):
    """Rows through a narrow code and back (Hinton and Salakhutdinov 2006): d, 32, 16, m, 16, 32, d with tanh between.

    `variational`: the code is a distribution pulled toward the standard normal (Kingma and Welling 2014), and its mean
    is the embedding. `n_components`: m; None takes a third of the columns, at least two.

    Trained with Adam on the rows given, minus a tenth that decides when to stop; the weights with the best loss on that
    tenth are kept. Rows are centred and divided by one common scale, so the weight of a column stays what it was.
    All chance comes from one NumPy generator and training uses one thread: the same seed gives the same weights.

    Learned: `n_components_`, `epochs_` trained, `explained_`: share of the variance of the held-out tenth that is
    rebuilt from its code.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        variational: bool = False,
        epochs: int = _EPOCHS,
        fit_rows: int = FIT_ROWS,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.variational = variational
        self.epochs = epochs
        self.fit_rows = fit_rows
        self.random_state = random_state

    def fit(self, X: Array, y: object = None) -> Self:
        """Train on finite rows (n, d). AlgorithmUnavailableError without PyTorch; ClusteringError below 20 rows."""
        torch = _torch()
        values = np.asarray(X, dtype=np.float64)
        n, d = values.shape
        if n < _FEWEST_ROWS:
            raise ClusteringError(f"An autoencoder needs {_FEWEST_ROWS} rows to train and validate on; there are {n}.")
        rng = np.random.default_rng(np.random.SeedSequence([self.random_state, n, d]))
        self.n_components_ = self.n_components or min(d, max(2, round(d / 3)))
        self._shift = values.mean(axis=0)
        self._scale = float(np.sqrt(values.var(axis=0).mean())) or 1.0
        order = rng.permutation(n)[: self.fit_rows]
        scaled = (values[order] - self._shift) / self._scale
        held_out = max(2, round(_VALIDATION_SHARE * len(scaled)))
        with _one_torch_thread(torch):
            network = _Network(torch, d, self.n_components_, self.variational, rng)
            self.epochs_, error = network.train(scaled[held_out:], scaled[:held_out], self.epochs, rng)
            self._encoder = network.encoder()
        spread = float(((scaled[:held_out] - scaled[held_out:].mean(axis=0)) ** 2).sum(axis=1).mean())
        self.explained_ = round(1 - error / spread, 6) if spread > 0 else 1.0
        self.n_features_in_ = d
        return self

    def transform(self, X: Array) -> Array:
        """Code (n, m) of the rows (n, d), in NumPy."""
        values = np.asarray(X, dtype=np.float64)
        code = np.empty((len(values), self.n_components_))
        with one_thread():
            for start in range(0, len(values), _BLOCK_ROWS):
                signal = (values[start : start + _BLOCK_ROWS] - self._shift) / self._scale
                for weights, bias in self._encoder[:-1]:
                    signal = np.tanh(signal @ weights + bias)
                weights, bias = self._encoder[-1]
                code[start : start + len(signal)] = signal @ weights + bias
        return code

    def to_dict(self) -> dict[str, Any]:
        """What `transform` needs and what was learned about it, as JSON-able values."""
        return {
            "parameters": self.get_params(deep=False),
            "shift": self._shift.tolist(),
            "scale": self._scale,
            "layers": [[weights.tolist(), bias.tolist()] for weights, bias in self._encoder],
            "epochs": self.epochs_,
            "explained": self.explained_,
        }

    @classmethod
    def from_dict(cls, frozen: Mapping[str, Any]) -> Self:
        """Undo `to_dict`; needs no PyTorch."""
        model = cls(**frozen["parameters"])
        model._shift, model._scale = np.array(frozen["shift"]), frozen["scale"]
        model._encoder = [(np.array(weights), np.array(bias)) for weights, bias in frozen["layers"]]
        model.n_features_in_, model.n_components_ = len(model._shift), len(model._encoder[-1][1])
        model.epochs_, model.explained_ = frozen["epochs"], frozen["explained"]
        return model


class _Network:
    """The weights while they are trained, as PyTorch tensors."""

    def __init__(self, torch: Any, d: int, m: int, variational: bool, rng: np.random.Generator) -> None:
        self.torch, self.m, self.variational = torch, m, variational
        out = 2 * m if variational else m
        widths = [(d, HIDDEN[0]), (HIDDEN[0], HIDDEN[1]), (HIDDEN[1], out)]
        widths += [(m, HIDDEN[1]), (HIDDEN[1], HIDDEN[0]), (HIDDEN[0], d)]
        self.layers = []
        for inner, outer in widths:
            # The start of Glorot and Bengio (2010), from our own generator: PyTorch's global one stays untouched.
            reach = np.sqrt(6 / (inner + outer))
            weights = torch.tensor(rng.uniform(-reach, reach, (inner, outer)), dtype=torch.float32, requires_grad=True)
            self.layers.append((weights, torch.zeros(outer, dtype=torch.float32, requires_grad=True)))

    def train(self, training: Array, validation: Array, epochs: int, rng: np.random.Generator) -> tuple[int, float]:
        """Epochs trained and the mean squared error per validation row; the best weights are kept."""
        torch = self.torch
        weights = [tensor for layer in self.layers for tensor in layer]
        optimiser = torch.optim.Adam(weights, lr=_LEARNING_RATE, fused=True)
        rows = torch.tensor(training, dtype=torch.float32)
        unseen = torch.tensor(validation, dtype=torch.float32)
        best, best_weights, best_epoch, epoch = np.inf, [tensor.detach().clone() for tensor in weights], 0, 0
        for epoch in range(1, epochs + 1):
            order = torch.from_numpy(rng.permutation(len(rows)))
            for start in range(0, len(rows), _BATCH_ROWS):
                batch = rows[order[start : start + _BATCH_ROWS]]
                noise = torch.tensor(rng.normal(size=(len(batch), self.m)), dtype=torch.float32)
                optimiser.zero_grad()
                self._loss(batch, noise).backward()
                optimiser.step()
            with torch.no_grad():
                # Without noise, so that two epochs differ by their weights only.
                loss = float(self._loss(unseen, torch.zeros(len(unseen), self.m)))
            if loss < best:
                best, best_epoch = loss, epoch
                best_weights = [tensor.detach().clone() for tensor in weights]
            elif epoch - best_epoch >= _PATIENCE:
                break
        with torch.no_grad():
            for tensor, kept in zip(weights, best_weights, strict=True):
                tensor.copy_(kept)
            code, _ = self._encode(unseen)
            error = float(((self._decode(code) - unseen) ** 2).sum(dim=1).mean())
        return epoch, error

    def encoder(self) -> list[Layer]:
        """The layers up to the code (its mean when variational), as float64 arrays."""
        with self.torch.no_grad():
            layers = [(w.numpy().astype(np.float64), b.numpy().astype(np.float64)) for w, b in self.layers[:3]]
        weights, bias = layers[2]
        return [*layers[:2], (weights[:, : self.m], bias[: self.m])]

    def _encode(self, rows: Any) -> tuple[Any, Any]:
        """Code, and the logarithm of its variance (None unless variational)."""
        (first, one), (second, two), (third, three) = self.layers[:3]
        code = self.torch.tanh(self.torch.tanh(rows @ first + one) @ second + two) @ third + three
        return (code[:, : self.m], code[:, self.m :]) if self.variational else (code, None)

    def _decode(self, code: Any) -> Any:
        (first, one), (second, two), (third, three) = self.layers[3:]
        return self.torch.tanh(self.torch.tanh(code @ first + one) @ second + two) @ third + three

    def _loss(self, rows: Any, noise: Any) -> Any:
        code, log_variance = self._encode(rows)
        if log_variance is None:
            return ((self._decode(code) - rows) ** 2).sum(dim=1).mean()
        drawn = code + noise * self.torch.exp(0.5 * log_variance)
        error = ((self._decode(drawn) - rows) ** 2).sum(dim=1) / (2 * _NOISE)
        # Kullback-Leibler divergence of the code's normal from the standard one.
        pull = 0.5 * (code**2 + self.torch.exp(log_variance) - 1 - log_variance).sum(dim=1)
        return (error + pull).mean()


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise AlgorithmUnavailableError(
            "The autoencoder is trained by PyTorch, which is not installed; install it with "
            "pip install -e '.[autoencoder]', or choose another algorithm."
        ) from None


@contextmanager
def _one_torch_thread(torch: Any) -> Iterator[None]:
    """Inside, PyTorch adds in a fixed order; outside, the number of threads is what it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
