"""How much memory a run needs, and into which crops an image is cut so that it needs less."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from napari_dfc.devices import Device, total_memory
from napari_dfc.scales import N_FILTERS
from napari_dfc.settings import Settings
from napari_dfc.strips import TILE, tile_rows_of_strip

__all__ = ["Plan", "amount", "crops", "make_plan", "prediction_plan", "wanted_factors"]

GIGABYTE = 1e9

#: Memory that a run may take where the settings leave it open and the memory is not the graphics processor's own.
AUTOMATIC_LIMIT = 2e9

#: Share of the device's memory that a run may take, whatever the settings allow.
LARGEST_SHARE = 0.6

#: Crops whose longer side is no longer than this are not cut any further: a crop has to show what the image is made of.
LEAST_CROP = 128

_FLOAT, _INDEX = 4, 8  # bytes


@dataclass(frozen=True)
class Plan:
    """What a run will need, known before it starts.

    Parameters
    ----------
    bytes : int
        Most memory that the run takes at a time on its device, beside what the process holds already.
    crop : (int, int)
        Rows and columns of what one iteration sees: the whole image, or a crop where that needs less memory.
    n_crops : int
        Crops that cover the image; 1 where it is taken whole.
    limit : float
        The memory that the run was held to, in bytes.
    whole : int
        What it would take with the whole image in each iteration, in bytes.
    """

    bytes: int
    crop: tuple[int, int]
    n_crops: int
    limit: float
    whole: int

    def __str__(self) -> str:
        needed = f"about {amount(self.bytes)} of memory"
        if self.n_crops == 1:
            return needed
        rows, columns = self.crop
        return f"{needed}, in {self.n_crops} crops of {columns} x {rows} pixels (the whole image: {amount(self.whole)})"


def make_plan(
    shape: tuple[int, int],
    n_inputs: int,
    settings: Settings,
    device: Device,
    most: float = math.inf,
    factors: tuple[int, ...] | None = None,
    n_clusters: int | None = None,
) -> Plan:
    """Find the largest crops with which a run stays within its limit.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    n_inputs : int
        Channels of the image.
    settings : Settings
        Its `memory_limit` holds as far as the device has as much; 0 leaves it to the device.
    device : Device
    most : float
        A limit in bytes that holds besides, where less memory turned out to be free.
    factors : tuple of int, optional
        For each network that is optimized for painted classes, the side of the square of pixels that it sees as one;
        see `wanted_factors`. By default there is one network.
    n_clusters : int, optional
        Channels of the response, where they are not as many as those of the network.

    Returns
    -------
    Plan

    Examples
    --------
    >>> from napari_dfc.devices import choose_device
    >>> plan = make_plan((512, 512), 1, Settings(), choose_device("cpu"))
    >>> plan.crop, plan.n_crops
    ((512, 512), 1)
    """
    wanted = settings.memory_limit * GIGABYTE or (math.inf if device.name == "cuda" else AUTOMATIC_LIMIT)
    limit = min(wanted, LARGEST_SHARE * total_memory(device), most)
    kind = (n_inputs, settings, device, factors, n_clusters)
    needed = whole = _bytes(shape, shape, *kind)
    down = across = 1
    crop = shape
    while needed > limit and max(crop) > LEAST_CROP:
        if crop[0] >= crop[1]:
            down += 1
        else:
            across += 1
        crop = (math.ceil(shape[0] / down), math.ceil(shape[1] / across))
        needed = _bytes(shape, crop, *kind)
    besides = _bytes_of_slic(shape, n_inputs) if settings.superpixels and device.name == "cpu" else 0
    if factors is not None and n_clusters is not None:  # at the end, when nothing of the iterations is left
        at_edges = _bytes_of_regions(math.prod(shape)) if settings.edge_share else 0
        besides = max(besides, at_edges + math.prod(shape) * (n_inputs + 3 * n_clusters) * _FLOAT)
    return Plan(max(needed, besides), crop, down * across, limit, max(whole, besides))


def wanted_factors(shape: tuple[int, int], settings: Settings) -> tuple[int, ...]:
    """At which fraction of the resolution each of several networks is to see an image with strokes.

    The first at the full one, the second at half of it, the third again at the full one, the fourth at a quarter, the
    fifth at the full one, and so on: what is small is seen sharply by some, and what is large as a whole by others. For
    an image larger than ``settings.full_resolution_up_to``, all at half of these.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    settings : Settings

    Returns
    -------
    tuple of int
        The side of the square of pixels that become one. Unless ``settings.extractor`` is "convolutions", the last is
        for the network whose features are fixed filters, at the finest.

    Examples
    --------
    >>> wanted_factors((400, 600), Settings(n_networks=4)), wanted_factors((400, 900), Settings(n_networks=3))
    ((1, 2, 1, 4, 1), (2, 4, 2, 2))
    """
    finest = 1 if max(shape) <= settings.full_resolution_up_to else 2
    n_learned = 0 if settings.extractor == "filters" else settings.n_networks
    learned = [finest * (1 if index % 2 == 0 else 2 ** ((index + 1) // 2)) for index in range(n_learned)]
    return (*learned, *([] if settings.extractor == "convolutions" else [finest]))


def crops(shape: tuple[int, int], crop: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Crops of one size that cover an image, overlapping where they have to.

    Parameters
    ----------
    shape, crop : (int, int)
        Rows and columns of the image and of a crop.

    Returns
    -------
    list of (slice, slice)

    Examples
    --------
    >>> crops((4, 7), (4, 4))
    [(slice(0, 4, None), slice(0, 4, None)), (slice(0, 4, None), slice(3, 7, None))]
    """
    rows, columns = (_starts(length, size) for length, size in zip(shape, crop, strict=True))
    return [(slice(top, top + crop[0]), slice(left, left + crop[1])) for top in rows for left in columns]


def _starts(length: int, size: int) -> list[int]:
    """Where parts of one size begin that cover a length evenly."""
    count = math.ceil(length / size)
    return [round(index * (length - size) / max(count - 1, 1)) for index in range(count)]


def _bytes(
    shape: tuple[int, int],
    crop: tuple[int, int],
    n_inputs: int,
    settings: Settings,
    device: Device,
    factors: tuple[int, ...] | None,
    n_clusters: int | None,
) -> int:
    n_pixels = math.prod(shape)
    is_ensemble = factors is not None
    n_learned = int(settings.extractor != "filters")
    if factors is not None:
        n_learned = len(factors) - int(settings.extractor != "convolutions")
    factors = factors or (1,)
    image = n_pixels * (n_inputs * _FLOAT + 4)  # label maps of a byte or two
    if settings.takes_votes(has_strokes=is_ensemble):
        image += _bytes_of_regions(n_pixels)
    if settings.superpixels:
        # each pixel's superpixel, and in a pass its bin, a step on the way there, and the label it is drawn to
        image += _INDEX * (n_pixels + 3 * math.prod(crop))
        image += _FLOAT * settings.superpixels * (n_clusters or settings.n_channels)  # counts, of 4 bytes too
    if crop == shape:  # each network has a copy with a border, and beside it the shrunken image, where that is another
        sizes = [(2 if factor > 1 else 1) * math.prod(_divided(crop, factor)) for factor in factors]
        image += n_inputs * _FLOAT * sum(sizes)
    else:
        image += n_inputs * _FLOAT * 2 * n_pixels
    each = [_network_bytes(_divided(crop, factor), n_inputs, settings, device) for factor in factors[:n_learned]]
    each += [_filter_bytes(_divided(crop, factor), n_inputs, settings, n_clusters) for factor in factors[n_learned:]]
    if n_clusters is not None:
        of_response = n_clusters * _FLOAT
        if is_ensemble:
            image += 2 * of_response * math.prod(crop)  # one network's probabilities, and the mean
        # the gradient of the response and, of several networks, each one's probabilities
        each = [
            one + of_response * math.prod(_divided(crop, factor)) * (2 if is_ensemble else 1)
            for one, factor in zip(each, factors, strict=True)
        ]
    # on the CPU every network keeps its maps for the next iteration; elsewhere only fixed features stay after each pass
    if device.name == "cpu":
        return image + sum(each)
    kept = [math.prod(_divided(crop, factor)) * N_FILTERS * n_inputs * _FLOAT for factor in factors[n_learned:]]
    return image + max(each) + sum(kept)


def prediction_plan(
    shape: tuple[int, int],
    n_inputs: int,
    n_clusters: int,
    edge_share: float,
    device: Device,
    *,
    compared: bool = False,
    updates: Plan | None = None,
) -> Plan:
    """How much memory the prediction of a plane takes: the image, probabilities, and where edges count, its basins.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    n_inputs : int
        Channels of the image.
    n_clusters : int
        Channels of the response.
    edge_share : float
        Above 0, the piece between edges around each pixel counts.
    device : Device
    compared : bool
        Whether it is a frame of a series, which is compared with the one before.
    updates : Plan, optional
        Of the updates that a frame of a series may get, see `napari_dfc.adaptation`.

    Returns
    -------
    Plan
        Whose crops are those of the updates.
    """
    n_pixels = math.prod(shape)
    needed = n_pixels * (2 * n_inputs + 2 * n_clusters + 3) * _FLOAT
    if edge_share:
        needed += _bytes_of_regions(n_pixels)
    if compared:  # the frame before, its probabilities, and its result with confidence and margin
        needed += n_pixels * ((n_inputs + n_clusters + 2) * _FLOAT + 1)
    if updates is None:
        return Plan(needed, shape, 1, total_memory(device), needed)
    # the first frame, the one before, and that of the latest updates; probabilities before and now; two maps of labels
    held = n_pixels * ((3 * n_inputs + 2 * n_clusters + 2) * _FLOAT + 2 * _INDEX + 1)
    most, whole = (max(needed, held + each) for each in (updates.bytes, updates.whole))
    return Plan(most, updates.crop, updates.n_crops, updates.limit, whole)


def _bytes_of_slic(shape: tuple[int, int], n_inputs: int) -> int:
    """The image and what scikit-image's SLIC keeps of it: three copies at a time, and the labels."""
    return math.prod(shape) * (4 * n_inputs * _FLOAT + _INDEX)


def _bytes_of_regions(n_pixels: int) -> int:
    """Contrast, basins and their index, and what finding and counting them takes for a while."""
    return n_pixels * (2 * _FLOAT + 4 * _INDEX)


def _divided(shape: tuple[int, int], factor: int) -> tuple[int, int]:
    return math.ceil(shape[0] / factor), math.ceil(shape[1] / factor)


def _network_bytes(crop: tuple[int, int], n_inputs: int, settings: Settings, device: Device) -> int:
    one_map = math.prod(crop) * settings.n_channels * _FLOAT
    if device.name == "cpu":
        return (settings.n_conv + 1) * one_map + _strip_bytes(crop, n_inputs, settings)
    # what automatic differentiation keeps of every component, the response with its softmax and differences, and the
    # gradients on their way back
    return (2 * settings.n_conv + 9) * one_map


def _filter_bytes(crop: tuple[int, int], n_inputs: int, settings: Settings, n_clusters: int | None) -> int:
    """The fixed features twice, as they are found and as they are kept, and a response's gradient with its buffers."""
    n_responses = n_clusters or settings.n_channels
    return math.prod(crop) * _FLOAT * (2 * N_FILTERS * n_inputs + 2 * n_responses)


def _strip_bytes(crop: tuple[int, int], n_inputs: int, settings: Settings) -> int:
    """The buffers of `StripPass`, of `StripConvolution` and of `StripObjective`."""
    height, width = crop
    threads = settings.threads or os.cpu_count() or 1
    tile_rows = tile_rows_of_strip(height, width, settings.n_channels, _FLOAT, threads)
    tile_columns = math.ceil(width / TILE)
    tiles, pixels = tile_rows * tile_columns, TILE * tile_rows * width
    of_tiles = 36 + 36 + 12  # inputs, products, sums
    padded = (TILE * tile_rows + 2) * (TILE * tile_columns + 2)
    halves = tile_rows * 6 * (TILE * tile_columns + 2)
    buffers = 3 * (pixels + 2 * width) + 2 * pixels
    each = of_tiles * tiles + 2 * padded + TILE * TILE * tiles + halves + buffers
    return _FLOAT * (each * settings.n_channels + 9 * n_inputs * pixels)


def amount(n_bytes: float) -> str:
    """Bytes in words.

    Examples
    --------
    >>> amount(2.5e9), amount(31e6)
    ('2.5 GB', '31 MB')
    """
    return f"{n_bytes / GIGABYTE:.1f} GB" if n_bytes >= GIGABYTE / 10 else f"{n_bytes / 1e6:.0f} MB"
