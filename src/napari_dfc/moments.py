"""Mean and variance of many values, gathered part by part without losing digits."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_dfc.network import Component, Normalization

__all__ = ["Moments", "folded_classifier", "inverse_deviation"]


class Moments:
    """Mean and variance, or covariance, of a map's channels, gathered strip by strip.

    Within a strip the values are taken less the strip's own mean, so that no digit is lost where the deviation is small
    beside the mean; strips are put together in float64 by the formula of Chan, Golub and LeVeque (1983).

    Parameters
    ----------
    full : bool
        Whether the covariance between channels is wanted.

    Attributes
    ----------
    mean, variance : (p,) Tensor of float64
    covariance : (p, p) Tensor of float64
        Where wanted.
    """

    def __init__(self, full: bool) -> None:
        self._full = full

    def start(self) -> None:
        """Forget the last pass."""
        self._count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)  # or products of two channels, less the means

    def add(self, values: Tensor, mask: Tensor | None, buffer: Tensor) -> None:
        """Take a strip's values (n, p), 0 where the mask (n, 1) is; the buffer is of their shape."""
        count = len(values) if mask is None else int(mask.sum())
        if not count:
            return
        # not by a product with ones, which a BLAS may add up one by one: 16 thousand float32 keep three digits then
        pivot = values.sum(0) / count
        centered = torch.sub(values, pivot, out=buffer)
        if mask is not None:
            centered.mul_(mask)
        rest = centered.sum(0).cpu().double() / count  # what rounding left of the mean
        squares = (torch.mm(centered.T, centered) if self._full else centered.mul_(centered).sum(0)).cpu().double()
        squares -= self._square(rest) * count
        offset = pivot.cpu().double() + rest - self.mean
        total = self._count + count
        self._squares = self._squares + squares + self._square(offset) * (self._count * count / total)
        self.mean = self.mean + offset * (count / total)
        self._count = total

    def _square(self, offset: Tensor) -> Tensor:
        return torch.outer(offset, offset) if self._full else offset.square()

    def finish(self) -> None:
        """All strips have come."""
        squares = self._squares / self._count
        if self._full:
            self.covariance = squares
            squares = squares.diagonal()
        self.variance = squares.clamp(min=0)

    def inverse_deviation(self) -> Tensor:
        """What a normalization multiplies with."""
        return inverse_deviation(self.variance)


def inverse_deviation(variance: Tensor) -> Tensor:
    """What a normalization multiplies with, of the variances that it goes by."""
    return torch.rsqrt(variance + Normalization.epsilon)


def folded_classifier(classifier: Component, scale: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The classifier and the normalizations around it as one linear function of the last map.

    Parameters
    ----------
    classifier : Component
    scale : (p,) Tensor
        What the last map's normalization multiplies with.
    covariance : (p, p) Tensor
        Of the last map's channels.

    Returns
    -------
    unit_slope : (q, p) Tensor of float64
        ``(map - mean) @ unit_slope.T`` has zero mean and unit variance.
    response_scale : (q,) Tensor of float64
        What it is multiplied with besides, in terms of the classifier's output.
    """
    weight = classifier.kernel.double().flatten(1) * scale
    variance = ((weight @ covariance) * weight).sum(1).clamp(min=0)
    inverse = inverse_deviation(variance)
    return weight * inverse[:, None], inverse * classifier.scale.double()
