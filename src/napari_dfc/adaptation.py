"""The updates by which a network follows a series whose scene changes, and when there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dfc.devices import as_torch_device, computing
from napari_dfc.ensemble import predictor_for
from napari_dfc.images import Plane
from napari_dfc.memory import crops, make_plan
from napari_dfc.network import weights_of
from napari_dfc.noise import unchanged
from napari_dfc.optimization import optimize
from napari_dfc.prediction import Features, Picture, Statistics, drift_between
from napari_dfc.result import KeptResponse, network_for, tensors_of
from napari_dfc.settings import Settings

__all__ = ["Adaptation", "Copy", "settings_of_updates", "updated"]

#: Drift between two frames up to which they are alike: noise of the same strength has 0.00003, see docs/benchmarks.md.
LEAST_DRIFT = 0.001

#: The same above which what a network says of the second is no longer good enough to learn from, as `MOST_DRIFT`.
MOST_DRIFT = 0.1

#: Share of the pixels that have to change, besides; noise that is stronger in what is bright changes 0.02.
LEAST_CHANGED = 0.05

#: Share of the pixels that have to get the label that they were given to learn, for an update to be kept: with its own
#: statistics, a frame of one class alone is split into all classes.
LEAST_AGREEMENT = 0.95


class Adaptation:
    """A copy of a network's weights that is updated where a series has changed.

    Parameters
    ----------
    n_updates : int
        On a frame that has changed.

    Attributes
    ----------
    updates : int
        That were made on the latest frame, and kept.

    Notes
    -----
    The kept network sees every frame, and the drift between its features there and at the frame of the latest update
    (at first, the series' first frame) says whether the scene has changed. Up to `LEAST_DRIFT`, or where fewer than
    `LEAST_CHANGED` of the pixels are others, no update is made. Beyond `MOST_DRIFT` the film was cut, and where a frame
    is again like the first the change is undone: the kept network itself is used then.

    Every update begins with the kept weights, so that they never lie further away than one frame's updates lead. Its
    objective is that of the training with a label for every pixel: the one before, where the image is unchanged, and
    elsewhere the one that the network has for it already (self-training). Where it doesn't learn these labels
    (`LEAST_AGREEMENT`), the update is thrown away.

    References
    ----------
    A. Kumar, T. Ma, P. Liang, "Understanding Self-Training for Gradual Domain Adaptation", ICML, 2020.
    """

    def __init__(self, n_updates: int) -> None:
        self._n_updates = n_updates
        self._first: _Seen | None = None
        self._latest: _Seen | None = None  # of those on which updates were made or tried, or after a cut
        self._copy: Copy | None = None
        self.updates = 0

    def shares(self, response: KeptResponse, held: NDArray[np.int64]) -> NDArray[np.float32]:
        """The probability of every channel at each pixel of a frame, (H, W, q), after updates where these are due.

        Parameters
        ----------
        response : KeptResponse
            Of the kept network to the frame, which is as large as those before.
        held : (H, W) ndarray of int64
            The channel to which a pixel is held; -1 where to none.

        Raises
        ------
        Cancelled
            Nobody waits any more.
        """
        self.updates = 0
        here = _Seen(response.plane, response.features)
        if self._first is None or self._latest is None:
            self._first = self._latest = here
        if _drift(self._first, here) <= LEAST_DRIFT:
            self._copy, self._latest = None, self._first
        elif _drift(self._latest, here) > MOST_DRIFT:
            self._copy, self._latest = None, here
        shares = self._present(response).shares()
        if _drift(self._latest, here) <= LEAST_DRIFT or not _has_changed(self._latest.plane, here.plane):
            return shares
        targets = np.where(held < 0, shares.argmax(-1), held)
        if response.known is not None:
            targets[~response.known] = -1
        copy = updated(response, targets, self._n_updates)
        found = response.adapted(*copy).shares()
        self._latest = here  # not before: where memory runs out on the way, the frame can be tried once more
        learned = (found.argmax(-1) == targets)[targets >= 0]
        if learned.mean() < LEAST_AGREEMENT:
            return shares
        self._copy, self.updates = copy, self._n_updates
        return found

    def _present(self, response: KeptResponse) -> KeptResponse:
        return response if self._copy is None else response.adapted(*self._copy)


class _Seen(NamedTuple):
    """A frame, and how the kept network's features are spread over it."""

    plane: Plane
    features: tuple[Features, ...]


class Copy(NamedTuple):
    """Of a network: its weights after updates, and the statistics of the frame on which they were made.

    Parameters
    ----------
    weights : mapping of str to Tensor
    statistics : tuple of Statistics, or None
        None where every frame has its own.
    """

    weights: Mapping[str, Tensor]
    statistics: tuple[Statistics, ...] | None


def _drift(there: _Seen, here: _Seen) -> float:
    """The mean over the networks."""
    return float(np.mean([drift_between(*each) for each in zip(there.features, here.features, strict=True)]))


def _has_changed(before: Plane, after: Plane) -> bool:
    still = unchanged(before, after)
    inside = still if after.mask is None else still[after.mask]
    return bool(1 - inside.mean() > LEAST_CHANGED)


def settings_of_updates(settings: Settings, n_updates: int) -> Settings:
    """The settings of a kept network's training, for updates on a frame of which every pixel has a target."""
    # what the others would be drawn to need not be found, nor do they vote
    return settings.change(max_iterations=n_updates, superpixels=0, split_into="clusters")


def updated(response: KeptResponse, targets: NDArray[np.int64], n_updates: int) -> Copy:
    """The kept network after updates on a frame.

    Parameters
    ----------
    response : KeptResponse
        Of the kept network to the frame.
    targets : (H, W) ndarray of int64
        The channel of the label that each pixel is to have; -1 where masked.
    n_updates : int

    Returns
    -------
    Copy
    """
    plane, device = response.plane, response.device
    settings = settings_of_updates(response.settings, n_updates)
    n_inputs, n_clusters, factors = len(plane.values), response.n_clusters, response.factors
    plan = make_plan(plane.shape, n_inputs, settings, device, factors=factors, n_clusters=n_clusters)
    network = network_for(n_inputs, settings, n_clusters, factors)
    network.load_state_dict(dict(response.weights))
    network.to(as_torch_device(device))
    image, mask = tensors_of(plane, device)
    with computing(device, settings.threads, settings.repeatable, precision=settings.precision):
        for _ in optimize(
            network,
            image,
            settings,
            mask=mask,
            targets=torch.from_numpy(targets).to(image.device),
            least=0,
            cancelled=response.cancelled,
            crops=crops(plane.shape, plan.crop),
        ):
            pass
        if response.statistics is None:
            return Copy(weights_of(network), None)
        with torch.no_grad():
            return Copy(weights_of(network), predictor_for(network, response.cancelled).measure(Picture(image, mask)))
