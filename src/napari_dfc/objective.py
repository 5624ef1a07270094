"""The losses and their gradient in the response, strip by strip of image rows, in a few passes over each strip."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_dfc.losses import painted_shares
from napari_dfc.passes import Losses, cluster_dtype, continuity_weight, weighted_total
from napari_dfc.settings import Settings

__all__ = ["StripObjective"]


class StripObjective:
    r"""What the functions of `napari_dfc.losses` and their derivatives give, without a map of the response.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    settings : Settings
    mask : (H, W) Tensor of bool, or None
    targets : (H, W) Tensor of int64, or None
    n_clusters : int
        Channels of the response.
    strip_rows : int
        Largest height of a strip.
    dtype : torch.dtype
    wants_probabilities : bool

    Attributes
    ----------
    clusters : (H, W) Tensor of uint8 or int16
    probabilities : (H, W, q) Tensor, or None
        As in `napari_dfc.passes.Found`, of the strips that have come.

    Notes
    -----
    With the softmax :math:`p` of the response and the wanted channel :math:`t_n`, the derivative of the cross-entropy
    is :math:`w_n (p_{n,i} - [i = t_n])`, where :math:`w_n` is the pixel's share in the mean over all unpainted or all
    painted pixels, times the weight of that loss. The derivative of a difference's absolute value is its sign.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        settings: Settings,
        mask: Tensor | None,
        targets: Tensor | None,
        n_clusters: int,
        strip_rows: int,
        dtype: torch.dtype,
        wants_probabilities: bool = False,
    ) -> None:
        self._height, self._width = shape
        self._settings, self._targets = settings, targets
        self.clusters = torch.zeros(shape, dtype=cluster_dtype(n_clusters))
        self.probabilities = torch.empty(*shape, n_clusters, dtype=dtype) if wants_probabilities else None
        self._differences = torch.empty(strip_rows * self._width * n_clusters, dtype=dtype)
        self._signs = torch.empty_like(self._differences)
        self._sign_above = torch.zeros(self._width, n_clusters, dtype=dtype)  # of the row above the strip

        usable = torch.ones(shape, dtype=torch.bool) if mask is None else mask
        painted = torch.zeros_like(usable) if targets is None else (targets >= 0) & usable
        self._n_free = int((usable & ~painted).sum())
        self._painted = painted if targets is not None else None
        self._weights: Tensor | None = None
        if mask is not None or targets is not None:
            weights = torch.zeros(shape, dtype=dtype)
            weights[usable & ~painted] = 1 / max(self._n_free, 1)
            if targets is not None:
                weights *= settings.similarity_weight
                self._shares = painted_shares(
                    targets.masked_fill(~usable, -1), n_clusters, settings.balance_scribbles
                ).to(dtype)
                weights += settings.scribble_weight * self._shares
            self._weights = weights
        self._usable = mask
        self._across = self._down = None
        n_across, n_down = self._height * (self._width - 1), (self._height - 1) * self._width
        if mask is not None:
            across, down = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
            n_across, n_down = int(across.sum()), int(down.sum())
            self._across, self._down = across[..., None].to(dtype), down[..., None].to(dtype)  # (H, W, 1)
        self._n_across, self._n_down = max(n_across, 1) * n_clusters, max(n_down, 1) * n_clusters

    def start(self, n_labels: int, wanted: Tensor | None = None) -> None:
        """Begin a new pass: the next strip is the topmost one.

        Parameters
        ----------
        n_labels : int
            Labels in the pass before; this one's are not known until its last strip.
        wanted : (H, W) Tensor of int64, optional
            Channel that each unpainted pixel is drawn to; by default the one that wins there.
        """
        self._n_labels, self._wanted = n_labels, wanted
        self._similarity = self._scribble = self._differences_across = self._differences_down = 0.0
        self._sign_above.zero_()

    def add(self, response: Tensor, top: int, gradient: Tensor, wanted: bool) -> None:
        """Take the next strip.

        Parameters
        ----------
        response : (h + 1, W, q) Tensor
            Of the strip's rows and of the row below it; (h, W, q) for the last strip.
        top : int
            First row of the strip.
        gradient : (h, W, q) Tensor
            Filled with the derivative of the total loss, or with numbers of no use where it is not wanted.
        wanted : bool
            Whether the gradient is.
        """
        n_rows = len(gradient)
        here = response[:n_rows].flatten(0, 1)  # (n, q)
        labels = here.argmax(1)
        self.clusters[top : top + n_rows].copy_(labels.view(n_rows, -1))
        self._add_cross_entropies(here, labels, top, gradient.flatten(0, 1), wanted)

        scale = continuity_weight(self._settings, self._n_labels)
        if self._width > 1:
            pairs = None if self._across is None else self._across[top : top + n_rows]
            sign, total = self._signs_of(response[:n_rows, 1:], response[:n_rows, :-1], pairs)
            self._differences_across += total
            if wanted:
                gradient[:, 1:].add_(sign, alpha=scale / self._n_across)
                gradient[:, :-1].sub_(sign, alpha=scale / self._n_across)
        if wanted:
            gradient[0].add_(self._sign_above, alpha=scale / self._n_down)
        below = len(response) - 1
        if below:
            pairs = None if self._down is None else self._down[top : top + below]
            sign, total = self._signs_of(response[1:], response[:-1], pairs)
            self._differences_down += total
            if wanted:
                gradient[1:].add_(sign[: n_rows - 1], alpha=scale / self._n_down)
                gradient[:below].sub_(sign, alpha=scale / self._n_down)
                self._sign_above.copy_(sign[-1])

    def losses(self) -> Losses:
        """The losses of all strips."""
        settings = self._settings
        similarity = self._similarity / max(self._n_free, 1)
        scribble = self._scribble
        continuity = self._differences_across / self._n_across + self._differences_down / self._n_down
        painted = self._painted is not None
        total = weighted_total(settings, similarity, continuity, scribble, painted, self._n_labels)
        return Losses(*(torch.tensor(each, dtype=torch.float64) for each in (similarity, continuity, scribble, total)))

    def _add_cross_entropies(self, here: Tensor, labels: Tensor, top: int, gradient: Tensor, wanted: bool) -> None:
        torch.softmax(here, 1, out=gradient)
        if self.probabilities is not None:
            n_rows = len(gradient) // self._width
            self.probabilities[top : top + n_rows].copy_(gradient.view(n_rows, self._width, -1))
        cross_entropy = -gradient.gather(1, labels[:, None])[:, 0].log()  # (n,)
        rows = slice(top, top + len(gradient) // self._width)
        weights = None if self._weights is None else self._weights[rows].flatten()
        target = self._target_of(labels, rows)
        if target is not labels:
            # written so, a channel with a vanishing share keeps a finite loss
            cross_entropy += here.gather(1, labels[:, None])[:, 0] - here.gather(1, target[:, None])[:, 0]
        if self._painted is not None:
            painted = self._painted[rows].flatten()
            self._scribble += float((cross_entropy[painted] * self._shares[rows].flatten()[painted]).sum())
            cross_entropy = cross_entropy.masked_fill(painted, 0)
        if self._usable is None:
            self._similarity += float(cross_entropy.sum())
        else:
            self._similarity += float(cross_entropy[self._usable[rows].flatten()].sum())
        if not wanted:
            return
        if weights is None:
            gradient.mul_(1 / self._n_free)
            gradient.scatter_add_(
                1, target[:, None], gradient.new_full((1, 1), -1 / self._n_free).expand(len(target), 1)
            )
        else:
            gradient.mul_(weights[:, None])
            gradient.scatter_add_(1, target[:, None], -weights[:, None])

    def _target_of(self, labels: Tensor, rows: slice) -> Tensor:
        """The channel that each pixel of some rows is drawn to: its stroke's, else the wanted one, (n,)."""
        wanted = labels if self._wanted is None else self._wanted[rows].flatten()
        if self._painted is None or self._targets is None:
            return wanted
        return torch.where(self._painted[rows].flatten(), self._targets[rows].flatten(), wanted)

    def _signs_of(self, second: Tensor, first: Tensor, pairs: Tensor | None) -> tuple[Tensor, float]:
        """The signs of the differences, 0 where a pair does not count, and the sum of the absolute values."""
        size = second.numel()
        difference, sign = self._differences[:size].view(second.shape), self._signs[:size].view(second.shape)
        torch.sub(second, first, out=difference)
        torch.sign(difference, out=sign)
        if pairs is not None:
            sign.mul_(pairs)
        return sign, float(torch.dot(difference.flatten(), sign.flatten()))
