"""The command line: segment, train, apply, export, demo, info; its options are the settings."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import typer

from napari_dfc.preset_file import read_settings
from napari_dfc.records import unpack_mask, unpack_strokes
from napari_dfc.settings import (
    DEFAULT_PRESET,
    MOST_UPDATES,
    USUAL_UPDATES,
    DeviceName,
    PresetName,
    Settings,
    parameters,
)
from napari_dfc.targets import (
    Refusal,
    new_folder,
    overlay_of,
    refuse_existing,
    refuse_inputs,
    refuse_twice,
    targets_of,
)

if TYPE_CHECKING:
    from napari_dfc.files import ImageFile
    from napari_dfc.result import Segmentation
    from napari_dfc.segmentation import Run

__all__ = ["app"]

app = typer.Typer(
    name="napari-dfc",
    help="Segment microscopy and other images by differentiable feature clustering: no labels, no downloaded weights.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


ChosenPreset = Annotated[
    Optional[PresetName],  # noqa: UP045
    typer.Option(help=f"The settings to start from.  [default: {DEFAULT_PRESET}]", show_default=False),
]
PresetFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        help="Settings to start from in place of a preset, as “Save settings ...” in napari writes them; what is given "
        "as an option comes before the file.",
        show_default=False,
    ),
]


PlaneOfStack = Annotated[
    str,
    typer.Option(
        "--plane",
        help="Of a time series or a stack the plane that is meant, counted from 0, such as 3; with several axes such "
        "as 3,0.",
        show_default=False,
    ),
]


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each setting; it receives those that were used as the dictionary `changes`."""
    options = []
    for parameter in parameters():
        if parameter.name == "preset":
            continue
        limits = "" if parameter.least is None else f" {parameter.least:g} to {parameter.most:.10g}."
        default = "yes" if parameter.default is True else "no" if parameter.default is False else parameter.default
        words = f"{parameter.meaning}{limits} [{DEFAULT_PRESET}: {default}]".replace("[", r"\[")  # no markup is meant
        optional: Any = Optional[parameter.type]  # noqa: UP045 - typer reads the type at run time
        annotation = Annotated[optional, typer.Option(help=words, rich_help_panel="Settings")]
        options.append(
            inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    plain = inspect.signature(command, eval_str=True)
    names = [option.name for option in options]

    def wrapped(**given: Any) -> None:
        changes = {name: given.pop(name) for name in names}
        command(**given, changes={name: value for name, value in changes.items() if value is not None})

    kept = [parameter for name, parameter in plain.parameters.items() if name != "changes"]
    wrapped.__signature__ = plain.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in [*kept, *options]}
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    return wrapped


@app.command()
@_with_settings
def segment(
    image: Annotated[list[Path], typer.Argument(help="Image files: TIFF, PNG, JPEG, ...", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="For one image a .tif file, for several a folder.", show_default=False),
    ],
    scribbles: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Label image of painted strokes, 0 where nothing is painted; with one image only."),
    ] = None,
    strokes: Annotated[
        str,
        typer.Option(help="Strokes as one word, as “Copy as command” in napari gives them; in place of a file."),
    ] = "",
    mask: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Label image of a region, 0 outside of it: nothing else is segmented; with one image only."),
    ] = None,
    within: Annotated[
        str,
        typer.Option(help="A region as one word, as “Copy as command” in napari gives it; in place of a mask."),
    ] = "",
    stop_after: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Stop after this iteration, as somebody did who watched.", show_default=False),
    ] = None,
    label_count: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Of the maps that the run passed, write the one with so many labels.", show_default=False),
    ] = None,
    preset: ChosenPreset = None,
    preset_file: PresetFile = None,
    plane: PlaneOfStack = "",
    overlay: Annotated[bool, typer.Option(help="Also write a PNG of the regions over the image.")] = False,
    channel_axis: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Axis of the channels, where the file doesn't say, counted from 0."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace results that are there already.")] = False,
    changes: Any = None,
) -> None:
    """Split images into regions and write their label maps."""
    with _one_line_errors():
        settings = _settings(preset, preset_file, changes)
        for name, word in {"strokes": strokes, "within": within}.items():
            if word and len(image) > 1:
                raise Refusal(f"--{name} goes with one image; {len(image)} came")
        inputs = {"scribbles": scribbles, "mask": mask}
        targets = targets_of(image, out, inputs, overlay=overlay, overwrite=overwrite)
        if within and mask is not None:
            raise Refusal("a region came twice; accepted is either --mask or --within")
        region = unpack_mask(within) if within else None
        if strokes and scribbles is not None:
            raise Refusal("strokes came twice; accepted is either --scribbles or --strokes")
        arrivals = unpack_strokes(strokes) if strokes else None
        place = _place(plane)
    failures = []
    for source, target in zip(image, targets, strict=True):
        try:
            with _one_line_errors():
                file = _read(source, place, channel_axis)
                painted = arrivals if scribbles is None else _labels(scribbles, place)
                inside = region if mask is None else _plain(mask, "a region", place) != 0
                run = _run(source.name, file.data, painted, file.channel_axis, settings, inside)
                _finish(run, stop_after)
                result = run.result() if label_count is None else run.result().with_count(label_count)
                print(_write(run.name, result, target, file.pixel_size, overwrite=overwrite))
                if overlay:
                    _draw(file.data, file.channel_axis, result, target, overwrite=overwrite)
        except typer.Exit:
            if len(image) == 1:
                raise
            failures.append(source)
    if failures:
        _complain(f"{len(failures)} of {len(image)} images failed: {', '.join(map(str, failures))}")
        raise typer.Exit(1)


@app.command()
@_with_settings
def train(
    reference: Annotated[list[Path], typer.Argument(help="Reference images, of any size.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The network's file, NAME.dfc.safetensors.", show_default=False)
    ],
    scribbles: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            help="Label image of strokes on a reference; once for each reference, in their order, or 'none' for one "
            "without. Left out, the references are split into groups."
        ),
    ] = None,
    name: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="What a class is called, such as 1=nucleus; once for each class that is to have a name."),
    ] = None,
    plane: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Of time series or stacks the plane that is meant, counted from 0, such as 3; with several axes such "
            "as 3,0. Once for all references, or once for each, in their order, with 'none' for a single image."
        ),
    ] = None,
    preset: ChosenPreset = None,
    preset_file: PresetFile = None,
    channel_axis: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Axis of the channels, where the files don't say, counted from 0."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a network that is there already.")] = False,
    changes: Any = None,
) -> None:
    """Train a network on reference images, and keep it in a file."""
    with _one_line_errors():
        settings = _settings(preset, preset_file, changes)
        names = _names(name or [])
        if not out.name.endswith(".dfc.safetensors"):
            raise Refusal(f"-o {out} is accepted only with the ending .dfc.safetensors")
        if not out.parent.is_dir():
            raise Refusal(f"the folder {out.parent} does not exist")
        if not overwrite:
            refuse_existing([out])
        places = [() if each == "none" else _place(each) for each in plane or ["none"]]
        if len(places) not in (1, len(reference)):
            raise Refusal(
                f"there are {len(places)} --plane for {len(reference)} references; give one for all or for each"
            )
        places = places * len(reference) if len(places) == 1 else places
        painted = None
        if scribbles is not None:
            if len(scribbles) != len(reference):
                came, wanted = len(scribbles), len(reference)
                raise Refusal(f"there are {came} --scribbles for {wanted} references; give one for each, or 'none'")
            named = zip(scribbles, places, strict=True)
            painted = [None if str(path) == "none" else _plain(path, "strokes", place) for path, place in named]
        files = [_read(path, place, channel_axis) for path, place in zip(reference, places, strict=True)]
        axes = {file.channel_axis for file in files}
        if len(axes) > 1:
            raise Refusal("the references have their channels along different axes; accepted is one for all")
        run = _training_run([file.data for file in files], painted, axes.pop(), settings, names, out.name)
        _finish(run)
        sizes = {file.pixel_size for file in files}
        result = run.result()
        sources = [
            f"{path.name}, plane {','.join(map(str, place))}" if place else path.name
            for path, place in zip(reference, places, strict=True)
        ]
        model = result.model(names).of_files(sources, sizes.pop() if len(sizes) == 1 else None)
        model.save(out, overwrite=overwrite)
        print(f"{out}: {model}" + (f"; {result.note}" if result.note else ""))


@app.command()
def apply(
    model: Annotated[Path, typer.Argument(help="The network's file, NAME.dfc.safetensors.", show_default=False)],
    image: Annotated[list[Path], typer.Argument(help="Images, folders and patterns.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder; it is made if need be.", show_default=False)],
    statistics: Annotated[
        Literal["reference", "image"],
        typer.Option(
            help="reference: brightness and features are scaled as in the references; image: by each image itself, "
            "which makes up for another exposure."
        ),
    ] = "reference",
    smoothing: Annotated[
        float,
        typer.Option(
            help="Of time series: where the image has not changed, a pixel takes this share of its probabilities from "
            "the frame before, which makes it flicker less in noise; 0 to below 1."
        ),
    ] = 0.0,
    adaptation: Annotated[
        int,
        typer.Option(
            help="Of time series: updates of a copy of the network on each frame whose scene has changed, so that it "
            "follows slow changes; frames that are alike but for noise get none. "
            f"0 to {MOST_UPDATES}; {USUAL_UPDATES} is a good start."
        ),
    ] = 0,
    jobs: Annotated[int, typer.Option(help="Processes at once; 0 takes one for each processor core.", min=0)] = 1,
    device: Annotated[DeviceName, typer.Option(help="Where it is computed.")] = "auto",
    channel_axis: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Axis of the channels, where the files don't say, counted from 0."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace results that are there already.")] = False,
) -> None:
    """Give images the classes of a kept network: label maps, and a table of areas and drift.

    A file that holds a time series or a stack gets one file of all its planes, and a row with the areas of all
    together and the mean drift.

    Interrupted, the same call goes on where it was: what this network has written already is kept.
    """
    from rich.console import Console
    from rich.progress import track

    with _one_line_errors():
        from napari_dfc.devices import load_torch

        load_torch()
        from napari_dfc.application import Job, rows_of_table, sources_of, write_table
        from napari_dfc.application import apply as apply_to
        from napari_dfc.model import load

        network = load(model)
        legend = network.legend
        sources = sources_of(image)
        out.mkdir(parents=True, exist_ok=True)
        earlier = rows_of_table(out / "results.csv", legend)
        made_here = {(out / f"{source.stem}_labels.tif").resolve() for source in sources}
        sources = [source for source in sources if source.resolve() not in made_here]  # of an earlier call
        targets = [out / f"{source.stem}_labels.tif" for source in sources]
        refuse_twice(targets)
        refuse_inputs(targets, sources)
        jobs = jobs or os.cpu_count() or 1
        job = Job(model, statistics, channel_axis, device, 1 if jobs > 1 else 0, overwrite, smoothing, adaptation)
        console = Console(stderr=True)
        made = apply_to(job, sources, targets, jobs, network)
        shown = track(
            made, model.name, total=len(sources), console=console, transient=True, disable=not console.is_terminal
        )
        done, interrupted = {}, False
        try:
            for each in shown:
                done[each.source] = each
        except KeyboardInterrupt:
            interrupted = True
            _complain("interrupted: ending what is at work ...")
            made.close()
        found = [done[source] for source in sources if source in done]
        write_table(out / "results.csv", legend, found, earlier)
    for each in found:
        if each.state == "failed":
            _complain(each.note if each.note.startswith(str(each.source)) else f"{each.source}: {each.note}")
        elif each.note:
            print(f"{each.source}: {each.note}")
    failed = [each for each in found if each.state == "failed"]
    kept = sum(each.state == "kept" for each in found)
    print(
        f"{len(found) - len(failed) - kept} images segmented, {kept} kept from before, {len(failed)} failed: "
        f"{out / 'results.csv'}"
    )
    if interrupted:
        print(f"{len(sources) - len(found)} of {len(sources)} are left: the same call goes on with these")
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="The network's file, NAME.dfc.safetensors.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="NAME.onnx, for ONNX with a model card beside it, or NAME.bioimageio.zip, for a bioimage.io package.",
            show_default=False,
        ),
    ],
    image: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="An image to compare on, and to show in the package; by default a piece of a reference."),
    ] = None,
    plane: PlaneOfStack = "",
    channel_axis: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Axis of the image's channels, where the file doesn't say, counted from 0."),
    ] = None,
    author: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Who trained it, for the model card; once for each."),
    ] = None,
    license: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Under which you pass the network on, such as CC-BY-4.0, for the model card."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there already.")] = False,
) -> None:
    """Write a kept network for other programs, once it gives the same labels there: ONNX, or a bioimage.io package."""
    with _one_line_errors():
        from napari_dfc.devices import load_torch

        load_torch()
        from napari_dfc import exchange
        from napari_dfc.model import load

        if not overwrite:
            refuse_existing(exchange.files_of(out))
        exchange.checked_target(out, overwrite=overwrite)
        found = load(model)
        file = None if image is None else _read(image, _place(plane), channel_axis)
        agreement = exchange.export(
            found,
            out,
            overwrite=overwrite,
            image=None if file is None else file.data,
            channel_axis=None if file is None else file.channel_axis,
            authors=author or (),
            license=license,
        )
        left_out = f"; drawing to edges, left out, would change {agreement.share_drawn:.1%}" if found.edge_share else ""
        print(
            f"{', '.join(map(str, exchange.files_of(out)))}: {len(found.legend)} classes; "
            f"{agreement.n_other_labels} of {agreement.n_pixels} compared pixels have another class than here{left_out}"
        )


@app.command()
def demo(
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--out", "-o", help="Without a display: the folder for the results.  [default: a new napari-dfc-demo]"
        ),
    ] = None,
) -> None:
    """Open napari on a sample image with the widget ready; without a display, segment the sample into files."""
    missing = _why_no_window()
    if not missing:
        from napari_dfc.gui.demo import open_demo

        open_demo()
        return
    with _one_line_errors():
        from napari_dfc.samples import read_sample

        print(f"{missing}: the demo writes its result to files instead of opening napari.")
        folder = out or new_folder("napari-dfc-demo")
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "stained_tissue_labels.tif"
        refuse_existing([target, overlay_of(target)], "choose another folder")
        sample = read_sample("stained_tissue")
        run = _run("stained_tissue", sample.image, sample.scribbles, None, Settings())
        _finish(run)
        result = run.result()
        _write(run.name, result, target, None, overwrite=False)
        _draw(sample.image, None, result, target, overwrite=False)
        print(f"Labels:  {target.resolve()}\nPicture: {overlay_of(target).resolve()}")


@app.command()
@_with_settings
def info(
    image: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="An image file, to be told what segmenting it will take.", show_default=False),
    ] = None,
    plane: PlaneOfStack = "",
    preset: ChosenPreset = None,
    preset_file: PresetFile = None,
    channel_axis: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Axis of the channels, where the file doesn't say, counted from 0."),
    ] = None,
    changes: Any = None,
) -> None:
    """Print versions and devices and, of an image, what segmenting it will take."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    with _one_line_errors():
        from napari_dfc.devices import choose_device, describe_devices

        settings = _settings(preset, preset_file, changes)
        rows = [("Python", platform.python_version()), ("System", platform.platform())]
        for package in ("napari-dfc", "torch", "numpy", "scikit-image", "napari", "PyQt6", "PySide6"):
            try:
                rows.append((package, version(package)))
            except PackageNotFoundError:
                rows.append((package, "not installed"))
        rows += describe_devices()
        rows.append(("in use", str(choose_device(settings.device))))
        if image is not None:
            from napari_dfc.segmentation import Run

            file = _read(image, _place(plane), channel_axis)
            run = Run(file.data, channel_axis=file.channel_axis, settings=settings)
            height, width = run.plane.shape
            rows.append(("image", f"{width} x {height} pixels, {len(run.plane.values)} channels"))
            rows.append(("takes", str(run.plan)))
    for name, value in rows:
        print(f"{name:<14}{value}")


def _settings(preset: PresetName | None, file: Path | None, changes: dict[str, Any]) -> Settings:
    """The settings of a preset or of a file, with those changed that were given as options."""
    if file is None:
        return Settings.from_preset(preset or DEFAULT_PRESET, **changes)
    if preset is not None:
        raise Refusal("--preset and --preset-file both say what to start from; accepted is one of them")
    return read_settings(file).settings.change(**changes)


def _place(word: str) -> tuple[int, ...]:
    """Indices of a plane, as the option --plane has them."""
    parts = word.split(",") if word else []
    if not all(part.strip().isdecimal() for part in parts):
        raise Refusal(f"--plane is {word!r}; accepted are indices counted from 0, such as 3, or 3,0 for two axes")
    return tuple(map(int, parts))


def _read(path: Path, place: tuple[int, ...] = (), channel_axis: int | None = None) -> ImageFile:
    """An image, or a plane of a stack, with the axis of its channels as it is or is given."""
    from napari_dfc.stacks import StackFile, open_image, plane_of

    file = open_image(path, channel_axis)
    if isinstance(file, StackFile) and not place:
        first = ",".join("0" * len(file.shape))
        raise Refusal(f"{file}; choose one, counted from 0, such as --plane {first}")
    return plane_of(path, file, place, channel_axis)


def _labels(path: Path, place: tuple[int, ...] = ()) -> Any:
    """Labels of an image; of a stack of them those of the image's plane."""
    from napari_dfc.files import read_image
    from napari_dfc.stacks import StackFile, open_image, read_plane

    is_stack = place and isinstance(open_image(path), StackFile)
    return (read_plane(path, place) if is_stack else read_image(path)).data


def _run(name: str, image: Any, scribbles: Any, channel_axis: int | None, settings: Settings, mask: Any = None) -> Run:
    """The run that segments one image."""
    from napari_dfc.devices import load_torch

    load_torch()
    from napari_dfc.segmentation import Run

    return Run(image, scribbles=scribbles, mask=mask, channel_axis=channel_axis, settings=settings, name=name)


def _finish(run: Run, stop_after: int | None = None) -> None:
    """All iterations, or those up to one, under a progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(run.name, total=run.n_updates, state="")
        for iteration in run:
            state = f"iteration {iteration.number}, {iteration.n_labels} labels"
            progress.update(task, completed=iteration.number, total=run.n_updates, state=state)
            if iteration.number == stop_after:
                run.cancel()


def _training_run(
    images: list[Any],
    painted: list[Any] | None,
    channel_axis: int | None,
    settings: Settings,
    names: dict[int, str],
    name: str,
) -> Run:
    from napari_dfc.devices import load_torch

    load_torch()
    from napari_dfc.legend import Legend
    from napari_dfc.training import training_run

    run = training_run(images, painted, channel_axis=channel_axis, settings=settings, name=name)
    Legend.of(run.class_numbers).named(names)  # what is wrong with a name is said before the training
    return run


def _names(given: list[str]) -> dict[int, str]:
    names = {}
    for each in given:
        number, equals, words = each.partition("=")
        if not equals or not number.strip().isdigit():
            raise Refusal(f"--name is {each!r}; accepted is a class's number and its name, such as 1=nucleus")
        names[int(number)] = words.strip()
    return names


def _write(
    name: str, result: Segmentation, target: Path, pixel_size: tuple[float, float] | None, *, overwrite: bool
) -> str:
    """Write what a run found; a line that says so."""
    from napari_dfc.files import write_labels

    write_labels(target, result.labels, pixel_size=pixel_size, record=result.record, overwrite=overwrite)
    note = f"; {result.note}" if result.note else ""
    return f"{name} -> {target}: {result.n_labels} labels after {result.iterations} iterations{note}"


def _draw(image: Any, channel_axis: int | None, result: Segmentation, target: Path, *, overwrite: bool) -> None:
    """Write a picture of the labels over the image."""
    from napari_dfc.files import write_picture
    from napari_dfc.images import prepare
    from napari_dfc.overlays import draw_overlay

    plane = prepare(image, channel_axis=channel_axis, scaling=result.settings.input_scaling)
    write_picture(overlay_of(target), draw_overlay(plane, result.labels), overwrite=overwrite)


def _plain(path: Path, what: str, place: tuple[int, ...] = ()) -> Any:
    """A label image, (H, W)."""
    found = _labels(path, place)
    if found.ndim != 2:
        raise Refusal(
            f"{path} holds an array of shape {found.shape}; accepted for {what} is one channel of whole numbers, with "
            "rows and columns as in the image"
        )
    return found


def _why_no_window() -> str:
    """Why napari cannot be opened here, in words; empty where it can."""
    from importlib.util import find_spec

    if find_spec("napari") is None:
        return "napari is not installed"
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "There is no display"
    return ""


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Say in one line what the user can put right, and end with status 2."""
    try:
        yield
    except (Refusal, ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        _complain(str(error))
        raise typer.Exit(2) from error


def _complain(words: str) -> None:
    print(f"napari-dfc: {' '.join(words.split())}", file=sys.stderr)
