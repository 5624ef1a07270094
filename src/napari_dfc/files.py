"""Reading images and writing results: pixel sizes are kept, and a file is complete or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import imageio.v3 as iio
import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dfc.whole_files import write_whole

__all__ = [
    "IMAGE_SUFFIXES",
    "TIFF_SUFFIXES",
    "ImageFile",
    "LabelFile",
    "can_be_read",
    "pixel_size_of",
    "read_image",
    "read_labels",
    "write_labels",
    "write_picture",
]

#: Endings of TIFF files.
TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".lsm")

#: Endings by which the images of a folder are known.
IMAGE_SUFFIXES = frozenset({*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})

_MICROMETERS = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "inch": 25400.0}


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An image as a file holds it.

    Parameters
    ----------
    data : ndarray
        Pixel values.
    channel_axis : int or None
        Axis of the channels, where the file names one that is not RGB(A).
    pixel_size : tuple of float, or None
        Height and width of a pixel in micrometers, where the file says.
    """

    data: NDArray[Any]
    channel_axis: int | None = None
    pixel_size: tuple[float, float] | None = None


def read_image(path: str | Path) -> ImageFile:
    """Read an image: TIFF (also OME and ImageJ), PNG, JPEG and what else imageio reads.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    ImageFile

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no image, is damaged or is of a kind that cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; accepted is an image file")
    with can_be_read(path):
        if path.suffix.lower() in TIFF_SUFFIXES:
            return _read_tiff(path)
        # from memory, because imageio leaves a file that it can't read open
        return ImageFile(iio.imread(path.read_bytes(), extension=path.suffix))


@contextmanager
def can_be_read(path: Path) -> Iterator[None]:
    """Say in one line, as a ValueError, that a file could not be read."""
    try:
        yield
    except Exception as error:  # decoders raise errors of every kind on damaged files
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read as an image; is it damaged or of another kind? ({detail})") from error


@dataclass(frozen=True, eq=False)
class LabelFile:
    """A label map, or a stack of them, as `write_labels` has written it.

    Parameters
    ----------
    labels : (..., H, W) ndarray of unsigned integers
    pixel_size : tuple of float, or None
        Height and width of a pixel in micrometers.
    record : dict, or None
        How the labels came about; None where the file does not say.
    """

    labels: NDArray[Any]
    pixel_size: tuple[float, float] | None
    record: dict[str, Any] | None


def read_labels(path: str | Path) -> LabelFile:
    """Read a label map with its record; errors as in `read_image`."""
    file = read_image(path)
    with tifffile.TiffFile(path) as tiff:
        text: Any = tiff.pages[0].tags["ImageDescription"].value if "ImageDescription" in tiff.pages[0].tags else ""
        if tiff.ome_metadata:
            images = tifffile.xml2dict(tiff.ome_metadata).get("OME", {}).get("Image", {})
            text = images.get("Description", "") if isinstance(images, dict) else ""
    try:
        record = json.loads(str(text))
    except ValueError:
        record = None
    return LabelFile(file.data, file.pixel_size, record if isinstance(record, dict) else None)


def write_labels(
    path: str | Path,
    labels: NDArray[np.unsignedinteger[Any]],
    *,
    pixel_size: tuple[float, float] | None = None,
    record: Mapping[str, Any] | None = None,
    axes: str = "YX",
    overwrite: bool = False,
) -> None:
    """Write a label map, or a stack of them, as TIFF, which ImageJ, QuPath and napari read with its pixel size.

    Parameters
    ----------
    path : str or Path
        Ends in .tif or .tiff.
    labels : (..., H, W) ndarray of unsigned integers
    pixel_size : tuple of float, optional
        Height and width of a pixel in micrometers.
    record : dict, optional
        Kept as JSON in the image description.
    axes : str
        A letter for each axis of the labels, such as TYX.
    overwrite : bool
        Replace the file if it is there.

    Raises
    ------
    FileExistsError
        The file is there and `overwrite` is False.
    FileNotFoundError
        Its folder is missing.
    ValueError
        Another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{path} ends in {path.suffix or 'nothing'}; accepted for labels is .tif or .tiff")
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "software": "napari-dfc"}
    metadata: dict[str, Any] = {"axes": axes}
    if record is not None:
        metadata["Description"] = json.dumps(record)
    if pixel_size is not None:
        height, width = pixel_size
        options |= {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
        metadata |= {"PhysicalSizeY": height, "PhysicalSizeX": width}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    # OME knows no 64-bit labels: those are written as plain TIFF
    if labels.dtype.itemsize <= 4:
        options |= {"ome": True, "metadata": {**metadata, "UUID": _uuid(labels, metadata)}}
    else:
        options |= {"metadata": None, "description": metadata.get("Description", "").encode() or None}
    write_whole(path, lambda temporary: tifffile.imwrite(temporary, labels, **options), overwrite)


def _uuid(labels: NDArray[Any], metadata: Mapping[str, Any]) -> str:
    """The identifier that OME asks for, from what is written: the same result gives the same file, byte for byte."""
    digest = hashlib.sha256(np.ascontiguousarray(labels).data)
    digest.update(json.dumps([labels.dtype.str, labels.shape, metadata], sort_keys=True).encode())
    return f"urn:uuid:{uuid5(NAMESPACE_OID, digest.hexdigest())}"


def write_picture(path: str | Path, picture: NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write an RGB picture (H, W, 3) as PNG; errors as in `write_labels`."""
    write_whole(Path(path), lambda temporary: iio.imwrite(temporary, picture, extension=".png"), overwrite)


def _read_tiff(path: Path) -> ImageFile:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        data = series.asarray()
        # tifffile's letters: Y X rows and columns, S samples of a pixel (RGB), C channels
        axes = series.axes
        channel_axis = axes.index("C") if "C" in axes else None
        if channel_axis is None and "S" in axes and axes.index("S") != data.ndim - 1:
            channel_axis = axes.index("S")
        return ImageFile(data, channel_axis, pixel_size_of(tiff))


def pixel_size_of(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    """Height and width of a pixel in micrometers, from OME, ImageJ or the resolution tags, in this order."""
    if tiff.ome_metadata:
        pixels = _ome_pixels(tiff.ome_metadata)
        if pixels is not None:
            return pixels
    resolution = _resolution(tiff.pages[0])
    if resolution is None:
        return None
    unit = ""
    if tiff.imagej_metadata:
        unit = str(tiff.imagej_metadata.get("unit", "")).replace("\\u00B5", "µ").replace("μ", "µ")
    if not unit and "ResolutionUnit" in tiff.pages[0].tags:
        unit = {2: "inch", 3: "cm"}.get(int(tiff.pages[0].tags["ResolutionUnit"].value), "")
    if unit not in _MICROMETERS:
        return None
    width, height = resolution
    return height * _MICROMETERS[unit], width * _MICROMETERS[unit]


def _ome_pixels(xml: str) -> tuple[float, float] | None:
    pixels = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    pixels = (pixels[0] if isinstance(pixels, list) else pixels).get("Pixels", {})
    sizes = []
    for axis in "YX":
        size = pixels.get(f"PhysicalSize{axis}")
        unit = str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).replace("μ", "µ")
        if size is None or unit not in _MICROMETERS:
            return None
        sizes.append(float(size) * _MICROMETERS[unit])
    return sizes[0], sizes[1]


def _resolution(page: Any) -> tuple[float, float] | None:
    """Width and height of a pixel in the page's unit of resolution."""
    sizes = []
    for tag in ("XResolution", "YResolution"):
        if tag not in page.tags:
            return None
        numerator, denominator = page.tags[tag].value
        if numerator == 0 or denominator == 0:
            return None
        sizes.append(denominator / numerator)
    return sizes[0], sizes[1]
