"""A pass over the image on the CPU, strip by strip of image rows, with derivatives written by hand.

A strip stays in the processor's cache while all is done with it. What has to be known of the whole image before the
next step, the batch statistics and the sums behind their derivatives, is gathered on the way. So a pass is one sweep
over the image for each layer forward, one for the losses and one for each layer backward, and of full size there are
only one map for each layer and one for the gradient.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_dfc.cancellation import Cancelled
from napari_dfc.moments import Moments, folded_classifier
from napari_dfc.network import kernel_matrix, padded_image
from napari_dfc.objective import StripObjective
from napari_dfc.passes import Found, Gradients, Task, cluster_dtype, count_labels
from napari_dfc.strips import TILE, tile_rows_of_strip
from napari_dfc.superpixels import majority
from napari_dfc.winograd import StripConvolution, transformed_kernel, untransformed_kernel_gradient

__all__ = ["StripPass"]


class StripPass:
    """The CPU's way to compute a `Task`; the numbers are those of `AutogradPass`, rounding aside.

    Parameters
    ----------
    task : Task
    """

    def __init__(self, task: Task) -> None:
        network, dtype = task.single, task.image.dtype
        n_inputs, self._height, self._width = task.image.shape
        channels = network.n_channels
        threads = torch.get_num_threads()
        tile_rows = tile_rows_of_strip(self._height, self._width, channels, dtype.itemsize, threads)
        self._strip_rows = strip_rows = TILE * tile_rows
        self._strips = [(top, min(top + strip_rows, self._height)) for top in range(0, self._height, strip_rows)]
        self._maps = [torch.empty(self._height, self._width, channels, dtype=dtype) for _ in range(network.n_conv or 1)]
        self._gradient = torch.empty(0)  # (H, W, p), made when first needed
        self._response_gradient = torch.empty(0)  # (H, W, q), the same where as many channels allow it
        self._moments = [Moments(full=index == len(self._maps) - 1) for index in range(len(self._maps))]
        if network.n_conv:
            self._convolution = StripConvolution(self._width, channels, tile_rows, dtype)
            self._taps = torch.empty(strip_rows, self._width, 3, 3, n_inputs, dtype=dtype)
        self._buffers = torch.empty(3, strip_rows + 2, self._width, channels, dtype=dtype)
        self._seen: tuple[Tensor | None, Tensor | None] = (None, None)
        self._one_width = network.n_clusters == channels
        self.n_labels: Any = network.n_clusters  # of the last pass
        self._response_buffers = self._buffers[1:]
        if not self._one_width:
            self._response_buffers = torch.empty(2, strip_rows + 2, self._width, network.n_clusters, dtype=dtype)
        self.take(task)

    def take(self, task: Task) -> None:
        """Go on with another image of the same shape, or with other strokes on the same image, in the same buffers."""
        self.task = task
        if self._seen[0] is not task.image or self._seen[1] is not task.mask:
            self._see(task)
        self._objective = StripObjective(
            (self._height, self._width),
            task.settings,
            task.mask,
            task.targets,
            task.single.n_clusters,
            self._strip_rows,
            task.image.dtype,
            task.wants_probabilities,
        )

    def _see(self, task: Task) -> None:
        """What of an image does not change with strokes and weights."""
        self._seen = task.image, task.mask
        self._mask = None if task.mask is None else task.mask[..., None].to(task.image.dtype)  # (H, W, 1)
        if task.single.n_conv:
            self._padded_image = padded_image(task.image, task.single.padding)  # (H + 2, W + 2, C)
        else:  # the one map is given
            self._maps[0].copy_(task.single.seen(task.image, task.mask).permute(1, 2, 0))
            self._find_moments(0)
        self._n_pixels = self._height * self._width if task.mask is None else int(task.mask.sum())

    @torch.no_grad()
    def __call__(self, gradients: bool) -> Found:
        """Compute with the network's present weights."""
        self._forward()
        sums = self._respond(gradients)
        found = Gradients(self._backward(*self._response_backward(*sums))) if gradients else Gradients(known=[])
        objective = self._objective
        if self.task.settings.continuity_schedule != "constant":
            self.n_labels = int(count_labels(objective.clusters, self.task.mask, self.task.single.n_clusters))
        return Found(objective.clusters.clone(), objective.losses(), found, objective.probabilities)

    # ------------------------------------------------------------------ forward

    def _forward(self) -> None:
        """Fill the maps with what comes out of every convolution and ReLU, and find their statistics."""
        *self._components, self._classifier = self.task.single.components()
        self._kernels: list[Tensor] = []
        self._scales: list[Tensor] = []
        if not self._components:
            self._scales.append(self._moments[0].inverse_deviation())
        for layer, component in enumerate(self._components):
            bias = component.bias
            self._kernels.append(transformed_kernel(component.kernel) if layer else kernel_matrix(component.kernel))
            moments = self._moments[layer]
            moments.start()
            for top, bottom in self._each_strip():
                values = self._maps[layer][top:bottom]  # (h, W, p)
                if layer == 0:
                    torch.addmm(bias, self._image_taps(top, bottom), self._kernels[0], out=values.flatten(0, 1))
                else:
                    self._read_normalized(layer - 1, top)
                    self._convolution.forward(self._kernels[layer])
                    torch.add(self._convolution.pixels[: bottom - top, : self._width], bias, out=values)
                values.clamp_(min=0)
                if self._mask is not None:
                    values.mul_(self._mask[top:bottom])
                self._add_moments(layer, top, bottom)
            moments.finish()
            self._scales.append(component.scale.double() * moments.inverse_deviation())

    def _find_moments(self, layer: int) -> None:
        """The statistics of a map that is finished."""
        self._moments[layer].start()
        for top, bottom in self._each_strip():
            self._add_moments(layer, top, bottom)
        self._moments[layer].finish()

    def _add_moments(self, layer: int, top: int, bottom: int) -> None:
        mask = None if self._mask is None else self._mask[top:bottom].flatten(0, 1)
        buffer = self._buffer(0, bottom - top).flatten(0, 1)
        self._moments[layer].add(self._maps[layer][top:bottom].flatten(0, 1), mask, buffer)

    def _image_taps(self, top: int, bottom: int) -> Tensor:
        """The 3x3 neighborhoods of a strip's pixels in the image, (n, 9 C)."""
        rows, columns, values = self._padded_image.stride()
        taps = self._taps[: bottom - top]
        taps.copy_(self._padded_image[top:].as_strided(taps.shape, (rows, columns, rows, columns, values)))
        return taps.flatten(2).flatten(0, 1)

    def _read_normalized(self, layer: int, top: int) -> None:
        """Give the convolution what the layer before it gives: its map, normalized, with a border."""
        padded, width = self._convolution.padded, self._width
        first, last = max(top - 1, 0), min(top + len(padded) - 1, self._height)
        start, end = first - (top - 1), last - (top - 1)  # in rows of `padded`
        scale = self._scales[layer]
        shift = self._components[layer].shift.double() - scale * self._moments[layer].mean
        inside = padded[start:end, 1 : width + 1]
        values = self._maps[layer]
        torch.addcmul(shift.to(values.dtype), values[first:last], scale.to(values.dtype), out=inside)
        if self._mask is not None:
            inside.mul_(self._mask[first:last])
        replicate = self.task.single.padding == "replicate"
        if replicate:
            padded[start:end, 0].copy_(padded[start:end, 1])
            padded[start:end, width + 1].copy_(padded[start:end, width])
        if start:
            padded[0].copy_(padded[1]) if replicate else padded[0].zero_()
        if end < len(padded):
            padded[end:].zero_()
            if replicate:
                padded[end].copy_(padded[end - 1])
        self._convolution.read()

    # ------------------------------------------------------------------ response and losses

    def _respond(self, gradients: bool) -> tuple[Tensor, Tensor]:
        """Clusters and losses; the sums of the response's gradient, and of its products with the last map's values.

        The response is never stored: it is a linear function of the last map, and its statistics follow from those of
        the map.
        """
        classifier, moments = self._classifier, self._moments[-1]
        self._unit_slope, self._response_scale = folded_classifier(classifier, self._scales[-1], moments.covariance)
        self._slope = slope = self._unit_slope * classifier.scale.double()[:, None]
        if gradients and not self._response_gradient.numel():
            if self.task.single.n_conv:
                self._gradient = self._response_gradient = torch.empty_like(self._maps[0])
            if not self._one_width or not self.task.single.n_conv:
                self._response_gradient = self._maps[0].new_empty(self._height, self._width, len(slope))
        sums = torch.zeros(len(slope), dtype=torch.float64)
        products = torch.zeros(slope.shape, dtype=torch.float64)
        self._objective.start(self.n_labels, self._wanted())
        for top, bottom, centered, response in self._responses():
            height = bottom - top
            gradient = self._response_gradient[top:bottom] if gradients else self._response_buffers[1][:height]
            self._objective.add(response, top, gradient, gradients)
            if gradients:
                flat = gradient.flatten(0, 1)
                sums += flat.sum(0)
                products += torch.mm(flat.T, centered[:height].flatten(0, 1))
        return sums, products

    def _wanted(self) -> Tensor | None:
        """What the superpixels draw their pixels to, (H, W): known only after a sweep over the whole response."""
        task = self.task
        if task.superpixels is None:
            return None
        clusters = torch.empty(self._height, self._width, dtype=cluster_dtype(task.single.n_clusters))
        for top, bottom, _, response in self._responses():
            clusters[top:bottom].copy_(response[: bottom - top].argmax(-1))
        return majority(clusters, task.superpixels, task.mask, task.single.n_clusters)

    def _responses(self) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """The response of every strip and the row below it, which is needed for the differences.

        Yields
        ------
        top, bottom : int
            First row of the strip and the row below it.
        centered : (h + 1, W, p) Tensor
            The last map's values less their mean.
        response : (h + 1, W, q) Tensor
            Both without the row below for the last strip, and only until the next one is asked for.
        """
        dtype = self.task.image.dtype
        mean, slope, bias = self._moments[-1].mean.to(dtype), self._slope.to(dtype), self._classifier.shift
        height = 0
        for top, bottom in self._each_strip():
            above, height = height, bottom - top
            below = min(bottom + 1, self._height)
            centered = torch.sub(self._maps[-1][top:below], mean, out=self._buffer(0, below - top))
            response = self._response_buffers[0][: below - top]
            known = int(top > 0)
            if known:
                response[0].copy_(self._response_buffers[0][above])
            if below - top > known:
                # response = (value - mean) @ slope.T + bias
                new = response[known:].flatten(0, 1)
                torch.addmm(bias, centered[known:].flatten(0, 1), slope.T, out=new)
            yield top, bottom, centered, response

    # ------------------------------------------------------------------ backward

    def _backward(
        self, classifier: list[Tensor], of_map: _OfLastMap | _OfMap, scale_and_shift: list[Tensor]
    ) -> Generator[None, None, list[Tensor]]:
        """The gradients of all weights, in the network's order, from what `_response_backward` gives.

        Yields after each strip. Other strokes on the same image change nothing of them.
        """
        network = self.task.single
        convolutions: list[Tensor] = []
        normalizations: list[Tensor] = []
        above = self._response_gradient
        for layer in reversed(range(network.n_conv)):
            normalizations = [*scale_and_shift, *normalizations]
            kernel = torch.zeros_like(self._kernels[layer])
            bias, shift, gain = torch.zeros(3, network.n_channels, dtype=torch.float64)
            self._convolution.start_backward()
            for top, bottom in self._strips:
                values = self._maps[layer][top:bottom].flatten(0, 1)
                gradient = of_map.strip(above[top:bottom].flatten(0, 1), values, *self._flat(bottom - top))
                torch.ops.aten.threshold_backward(gradient, values, 0, grad_input=gradient)  # of the ReLU
                bias += gradient.sum(0)
                if layer == 0:
                    kernel.addmm_(self._image_taps(top, bottom).T, gradient)
                else:
                    self._convolve_backward(layer, top, gradient, kernel)
                    self._keep_map_gradient(layer - 1, top, shift, gain)
                yield
            convolutions = [self._kernel_gradient(layer, kernel), bias, *convolutions]
            if layer > 0:
                above = self._gradient
                of_map, scale_and_shift = self._normalization_backward(layer - 1, shift, gain)
        found = [*convolutions, *normalizations, *classifier]
        return [each.to(old.dtype).view_as(old) for each, old in zip(found, network.parameters(), strict=True)]

    def _response_backward(self, sums: Tensor, products: Tensor) -> tuple[list[Tensor], _OfLastMap, list[Tensor]]:
        """Through both normalizations and the classifier between the last map and the response, all linear.

        Parameters
        ----------
        sums : (q,) Tensor
            Of the response's gradient over the pixels.
        products : (q, p) Tensor
            Sums of the response's gradient times the last map's values less their mean.

        Returns
        -------
        classifier : list of Tensor
            The gradients of the classifier's and the response normalization's weights.
        of_map : _OfLastMap
            How the gradient of the last map follows from that of the response.
        scale_and_shift : list of Tensor
            The gradients of the last map's normalization.
        """
        moments, scale = self._moments[-1], self._scales[-1]
        weight = self._classifier.kernel.double().flatten(1)  # (q, p)
        gain = (products * self._unit_slope).sum(1)  # (q,)
        # sums of the classifier's gradient times the last map's values less their mean
        through = self._response_scale[:, None] * (products - gain[:, None] * (self._unit_slope @ moments.covariance))
        inverse = moments.inverse_deviation()
        map_gain = inverse * (weight * through).sum(0)  # (p,)
        mixing = self._unit_slope.T @ (gain[:, None] * self._slope) + torch.diag(scale * inverse * map_gain)
        of_map = _OfLastMap(self._slope, mixing / self._n_pixels, -sums @ self._slope / self._n_pixels, moments.mean)
        # what goes before a normalization can be shifted without any effect: those gradients are exactly 0
        classifier = [through * scale, torch.zeros_like(sums), gain, sums]
        return classifier, of_map.to(self.task.image.dtype), [map_gain, torch.zeros_like(map_gain)]

    def _normalization_backward(self, layer: int, shift: Tensor, gain: Tensor) -> tuple[_OfMap, list[Tensor]]:
        """Through the normalization of a map, from the sums of its gradient and of that times the centered values."""
        moments, scale = self._moments[layer], self._scales[layer]
        inverse = moments.inverse_deviation()
        gain = gain * inverse
        slope = scale * inverse * gain / self._n_pixels
        of_map = _OfMap(scale, slope, moments.mean * slope - scale * shift / self._n_pixels)
        return of_map.to(self.task.image.dtype), [gain, shift]

    def _convolve_backward(self, layer: int, top: int, gradient: Tensor, kernel_gradient: Tensor) -> None:
        """Add a strip's share to the kernel's gradient, and leave that of the normalized map below."""
        self._read_normalized(layer - 1, top)
        pixels = self._convolution.pixels.zero_()
        pixels[: len(gradient) // self._width, : self._width].copy_(gradient.view(-1, self._width, gradient.shape[1]))
        self._convolution.backward(self._kernels[layer], kernel_gradient)

    def _keep_map_gradient(self, layer: int, top: int, shift: Tensor, gain: Tensor) -> None:
        """Put the finished rows of a normalized map's gradient into the gradient map, and add to their sums.

        The rows that this overwrites have been used: a strip finishes no row below itself.
        """
        padded, width = self._convolution.padded_gradient, self._width
        below = top + len(padded) - 2  # first row of the next strip
        start = int(top == 0)
        end = len(padded) - 2 if below < self._height else self._height - (top - 1)  # in rows of `padded`
        if self.task.single.padding == "replicate":
            if top == 0:
                padded[1].add_(padded[0])
            if below >= self._height:
                padded[end - 1].add_(padded[end])
            padded[start:end, 1].add_(padded[start:end, 0])
            padded[start:end, width].add_(padded[start:end, width + 1])
        rows = slice(top - 1 + start, top - 1 + end)
        gradient, values = self._gradient[rows], self._maps[layer][rows]
        gradient.copy_(padded[start:end, 1 : width + 1])
        if self._mask is not None:
            gradient.mul_(self._mask[rows])
        flat = gradient.flatten(0, 1)
        product = torch.sub(
            values.flatten(0, 1), self._moments[layer].mean.to(values.dtype), out=self._flat(end - start)[0]
        )
        product.mul_(flat)
        shift += flat.sum(0)
        gain += product.sum(0)

    def _kernel_gradient(self, layer: int, gradient: Tensor) -> Tensor:
        if layer:
            return untransformed_kernel_gradient(gradient)
        return gradient.view(3, 3, -1, gradient.shape[1]).permute(3, 2, 0, 1).contiguous()  # (p, C, 3, 3)

    # ------------------------------------------------------------------ small things

    def _each_strip(self) -> Iterator[tuple[int, int]]:
        """First row of every strip and the row below it, as long as nobody calls the pass off."""
        for strip in self._strips:
            if self.task.cancelled():
                raise Cancelled
            yield strip

    def _buffer(self, index: int, n_rows: int) -> Tensor:
        """One of the three buffers, (h, W, p)."""
        return self._buffers[index][:n_rows]

    def _flat(self, n_rows: int) -> tuple[Tensor, Tensor]:
        """Two buffers, (n, p) each."""
        return self._buffer(0, n_rows).flatten(0, 1), self._buffer(1, n_rows).flatten(0, 1)


class _OfLastMap(NamedTuple):
    """The gradient of the last map from that of the response: slope, mixing (p, p), constant and mean (p,)."""

    slope: Tensor  # (q, p)
    mixing: Tensor  # (p, p)
    constant: Tensor  # (p,)
    mean: Tensor  # (p,)

    def to(self, dtype: torch.dtype) -> _OfLastMap:
        return _OfLastMap(*(each.to(dtype) for each in self))

    def strip(self, gradient: Tensor, values: Tensor, centered: Tensor, out: Tensor) -> Tensor:
        torch.sub(values, self.mean, out=centered)
        torch.addmm(self.constant, gradient, self.slope, out=out)
        return out.addmm_(centered, self.mixing, alpha=-1)


class _OfMap(NamedTuple):
    """The gradient of a map from that of the normalized one."""

    scale: Tensor  # (p,)
    slope: Tensor  # (p,)
    constant: Tensor  # (p,)

    def to(self, dtype: torch.dtype) -> _OfMap:
        return _OfMap(*(each.to(dtype) for each in self))

    def strip(self, gradient: Tensor, values: Tensor, _: Tensor, out: Tensor) -> Tensor:
        torch.addcmul(self.constant, gradient, self.scale, out=out)
        return out.addcmul_(values, self.slope, value=-1)
