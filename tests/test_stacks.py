"""Files of several planes: their axes, and their planes one after the other."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_dfc.files import ImageFile
from napari_dfc.stacks import StackFile, open_image, read_plane

PLANES = np.random.default_rng(0).integers(0, 255, (5, 3, 2, 20, 30), dtype=np.uint8)  # (T, Z, C, Y, X)


def written(path: Path, data: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, data, **options)
    return path


@pytest.mark.parametrize(
    ("data", "options", "axes", "channel_axis"),
    [
        (PLANES[:, 0, 0], {"imagej": True, "metadata": {"axes": "TYX"}}, "T", None),
        (PLANES[0, :, 0], {"imagej": True, "metadata": {"axes": "ZYX"}}, "Z", None),
        (PLANES[:, 0], {"imagej": True, "metadata": {"axes": "TCYX"}}, "T", 0),
        (PLANES, {"imagej": True, "metadata": {"axes": "TZCYX"}}, "TZ", 0),
        (np.moveaxis(PLANES, 2, 0), {"ome": True, "metadata": {"axes": "CTZYX"}}, "TZ", 0),
        (PLANES[:, 0, 0], {"compression": "zlib"}, "T", None),  # pages without a meaning
        (PLANES[:, 0, 0], {"metadata": None}, "T", None),
        (np.stack([PLANES[:, 0, 0]] * 3, -1), {"photometric": "rgb"}, "T", None),
        (np.stack([PLANES[:, 0, 0]] * 3, 1), {"photometric": "rgb", "planarconfig": "separate"}, "T", 0),
    ],
)
def test_every_plane_of_a_tiff_is_read_by_its_place(
    tmp_path: Path, data: np.ndarray, options: dict[str, object], axes: str, channel_axis: int | None
) -> None:
    file = open_image(written(tmp_path / "a.tif", data, **options))
    assert isinstance(file, StackFile)
    assert (file.axes, file.channel_axis) == (axes, channel_axis)
    places = [place for series in file.series() for place in series]
    assert sorted(places) == sorted(np.ndindex(file.shape))
    assert len(places) == file.n_planes
    expected = np.moveaxis(data, 0, 2) if options.get("metadata") == {"axes": "CTZYX"} else data
    with file.reading() as read:
        for place in places:
            assert np.array_equal(read(place), expected[place])


def test_a_series_goes_through_time_at_one_depth(tmp_path: Path) -> None:
    file = open_image(written(tmp_path / "a.tif", PLANES, imagej=True, metadata={"axes": "TZCYX"}))
    assert list(file.series()) == [[(time, depth) for time in range(5)] for depth in range(3)]
    depths = open_image(written(tmp_path / "b.tif", PLANES[0, :, 0], imagej=True, metadata={"axes": "ZYX"}))
    assert list(depths.series()) == [[(0,)], [(1,)], [(2,)]]


def test_a_plane_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", PLANES[:, 0, 0], compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[4].dataoffsets[0]
    file = open_image(path)
    data = bytearray(path.read_bytes())
    data[last : last + 40] = bytes(40)  # the last page cannot be unpacked any more
    path.write_bytes(data)
    with file.reading() as read:
        for number in range(4):
            assert np.array_equal(read((number,)), PLANES[number, 0, 0])
        with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image"):
            read((4,))


def test_channels_may_be_named_by_the_caller(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", PLANES[:, 0, 0], metadata=None)  # pages without a meaning
    assert isinstance(open_image(path, channel_axis=0), ImageFile)
    assert isinstance(open_image(path), StackFile)


@pytest.mark.parametrize("channel_axis", [1, 2, -1, 5, -4])
def test_a_channel_axis_that_cannot_be_is_refused(tmp_path: Path, channel_axis: int) -> None:
    path = written(tmp_path / "a.tif", PLANES[:, 0, 0], metadata=None)
    with pytest.raises(ValueError, match=rf"channel_axis is {channel_axis}; .*a\.tif has the axes ..."):
        open_image(path, channel_axis=channel_axis)


def test_a_single_image_is_none(tmp_path: Path) -> None:
    for name, data in (("gray", PLANES[0, 0, 0]), ("rgb", np.stack([PLANES[0, 0, 0]] * 3, -1))):
        iio.imwrite(tmp_path / f"{name}.png", data)
        written(tmp_path / f"{name}.tif", data)
        for ending in ("png", "tif"):
            file = open_image(tmp_path / f"{name}.{ending}")
            assert isinstance(file, ImageFile)
            assert np.array_equal(file.data, data)


def test_an_animation_is_a_time_series(tmp_path: Path) -> None:
    frames = np.stack([np.full((20, 30, 3), value, dtype=np.uint8) for value in (10, 120, 240)])
    iio.imwrite(tmp_path / "a.gif", frames)
    file = open_image(tmp_path / "a.gif")
    assert (file.axes, file.shape) == ("T", (3,))
    (places,) = file.series()
    with file.reading() as read:
        assert [int(read(place)[0, 0, 0]) for place in places] == pytest.approx([10, 120, 240], abs=4)


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_image(tmp_path / "absent.tif")
    (tmp_path / "a.tif").write_bytes(b"this is no image")
    with pytest.raises(ValueError, match="cannot be read as an image"):
        open_image(tmp_path / "a.tif")


def test_one_plane_is_read_with_the_axis_of_its_channels(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", PLANES, imagej=True, metadata={"axes": "TZCYX"})
    file = read_plane(path, (4, 2))
    np.testing.assert_array_equal(file.data, PLANES[4, 2])
    assert file.channel_axis == 0
    other = read_plane(written(tmp_path / "b.tif", PLANES[:, 0, 0]), (2,))
    np.testing.assert_array_equal(other.data, PLANES[2, 0, 0])
    assert other.channel_axis is None


def test_planes_that_a_file_calls_colors_have_places_too(tmp_path: Path) -> None:
    """As napari's own writer saves three or four planes."""
    path = written(tmp_path / "a.tif", PLANES[:3, 0, 0], photometric="rgb", planarconfig="separate")
    assert read_plane(path).channel_axis == 0
    file = read_plane(path, (2,))
    np.testing.assert_array_equal(file.data, PLANES[2, 0, 0])
    assert file.channel_axis is None
    with pytest.raises(ValueError, match="holds one plane alone, and no plane 3"):
        read_plane(path, (3,))


def test_a_plane_that_is_not_named_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", PLANES, imagej=True, metadata={"axes": "TZCYX"})
    with pytest.raises(
        ValueError, match=r"plane is not given; .* holds 15 planes, along T and Z \(5,3\): .* up to 4,2"
    ):
        read_plane(path)


def test_an_axis_of_channels_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", PLANES[0, 0, 0])
    with pytest.raises(ValueError, match=r"^channel_axis is 7; .* has the axes YX"):
        open_image(path, channel_axis=7)


def test_an_axis_of_channels_that_is_given_leaves_one_plane(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", PLANES[:, 0, 0])
    file = read_plane(path, channel_axis=0)
    assert (file.data.shape, file.channel_axis) == ((5, 20, 30), 0)
