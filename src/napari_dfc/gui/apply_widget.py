"""The widget "Apply a network": choose a trained network and layers, and every plane gets the same classes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, FloatSpinBox, Label, PushButton, Select

from napari_dfc.devices import Device, load_torch, torch_is_loaded, total_memory
from napari_dfc.gui.apply_run import Application, ApplyRun
from napari_dfc.gui.background import CancellableWorker, Refusal
from napari_dfc.gui.dialogs import ask_for_network
from napari_dfc.gui.dock import NO_IMAGE, Dock
from napari_dfc.gui.form import labeled, stacked
from napari_dfc.gui.inputs import gather
from napari_dfc.gui.layer_planes import LayerPlanes
from napari_dfc.gui.layers import ImagePlane, channel_axes, displayed_plane
from napari_dfc.gui.preferences import preferences
from napari_dfc.memory import LARGEST_SHARE, amount
from napari_dfc.model_document import ENDING
from napari_dfc.settings import MOST_UPDATES, USUAL_UPDATES

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_dfc.model import Model

__all__ = ["ApplyWidget"]

PLANES = ("displayed plane", "all planes")
STEPS = (2, USUAL_UPDATES, 10, 20, MOST_UPDATES)
STATISTICS = {"as references": "reference", "own": "image"}


class ApplyWidget(Dock):
    """Dock widget that gives image layers the classes of a trained network.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Or a `napari.components.ViewerModel`.

    Attributes
    ----------
    run : ApplyRun or None
        The latest started here.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(
            napari_viewer,
            start={"text": "Apply", "tooltip": "Segment into new Labels layers, plane by plane."},
            stop={"text": "Stop", "tooltip": "End now and keep the finished planes."},
        )
        self._n_offered = 0
        self.intro = Label(value="Choose a network and the images that are to get its classes.")
        self.network = ComboBox(
            label="Network",
            choices=lambda _: list(self._networks),
            tooltip="A network that was trained since napari started, or opened from a file.",
        )
        self.open_button = PushButton(text="Open network ...", tooltip=f"Read a network from its {ENDING} file.")
        self.about = Label(tooltip="What the network was trained on.")
        self.images = Select(
            label="Images",
            choices=self.image_layers,
            tooltip="The image layers to segment. Ctrl+click chooses several.",
        )
        self.channel_axis = ComboBox(
            label="Channel axis",
            choices=self._channel_axes,
            nullable=True,
            tooltip="For layers with a slider for their channels: the axis that holds them.",
        )
        self.planes = ComboBox(
            label="Planes",
            choices=PLANES,
            value="all planes",
            tooltip="Of stacks and time series: only the plane that is displayed, or all time points and slices.",
        )
        self.statistics = ComboBox(
            label="Brightness",
            choices=list(STATISTICS),
            tooltip="as references: a gray value means the same in every image. own: each image is scaled by itself, "
            "which makes up for another exposure or staining and for fading light.",
        )
        self.smoothing = FloatSpinBox(
            label="Smoothing",
            value=0.0,
            min=0.0,
            max=0.9,
            step=0.1,
            tooltip="Of time series: where the image has not changed, a pixel takes this share of its probabilities "
            "from the frame before, which makes it flicker less in noise. Goes along the first slider.",
        )
        self.adaptation = ComboBox(
            label="Follow changes",
            choices=[("off", 0), *((f"in {steps} steps", steps) for steps in STEPS)],
            value=0,
            tooltip="For series in which staining, focus or what there is to see changes slowly: where a plane shows "
            "something else than those before it, a copy of the network learns it in so many steps; "
            f"{USUAL_UPDATES} are a good start. Planes that differ by noise alone are segmented as without. Takes the "
            "planes in order, along the first slider; takes longer, and more memory.",
        )
        self.estimate = Label(tooltip="What the largest of the images takes, beside the labels of all planes.")
        self._lay_out()
        self._connect()

    @property
    def model(self) -> Model | None:
        """The chosen network."""
        return self._networks.get(self.network.value)

    def start(self) -> ApplyRun | None:
        """Start; None where it can't, with the reason in `hint`."""
        if not self.can_start():
            return None
        run = ApplyRun(self._viewer, self._application())
        self.follow_run(run, 1)
        return run

    def open_network(self, path: Path) -> CancellableWorker:
        """Read a network from its file in a thread, and choose it; where it can't be read, `status` says why."""

        def read() -> Model:
            load_torch()
            from napari_dfc.model import load

            return load(path)

        def opened(model: Model | Refusal) -> None:
            if isinstance(model, Refusal):
                self.say(model.reason)
                return
            name = self._networks.new_name(path.name.removesuffix(ENDING))
            self._networks.keep(name, model)
            self.network.value = name
            self.say("")

        loading = "" if torch_is_loaded() else " Loading PyTorch, once after each start of napari."
        self.say(f"Opening {path.name} ...{loading}")
        return self.in_background(read, opened)

    def refresh(self) -> None:
        """Say whether it can start, and why not."""
        reason = "" if self.running else self._refusal()
        self.show_state(reason)
        self.estimate.value = "" if self.running or reason else self._needs()
        self.estimate.visible = bool(self.estimate.value)
        model = self.model
        self.about.value = "" if model is None else described(model)
        self.about.visible = model is not None
        self._planes_row.visible = any(image.ndim > 2 for image in self.images.value)
        self._series_rows.visible = self._is_series()

    def offer_layers(self) -> None:
        """List the image layers anew; where none is chosen, the active one is, or the topmost."""
        self.images.reset_choices()
        images, active = self.image_layers(), self._viewer.layers.selection.active
        if images and not self.images.value:
            self.images.value = [active if active in images else images[-1]]
        self.offer_channels()

    def offer_networks(self) -> None:
        """Networks came or changed; one that has come is chosen."""
        had, came = self.network.value, len(self._networks) > self._n_offered
        self._n_offered = len(self._networks)
        self.network.reset_choices()
        if came or (had not in self._networks and len(self._networks)):
            self.network.value = list(self._networks)[-1]
        self.refresh()

    def offer_channels(self) -> None:
        """Other layers are chosen: offer their axes."""
        self.channel_axis.reset_choices()
        self._channel_axis_row.visible = bool(self._channel_axes())
        self.refresh()

    def let_go(self) -> None:
        """The dock is gone: end what goes on, keeping the finished planes."""
        self._networks.changed.disconnect(self.offer_networks, missing_ok=True)
        super().let_go()

    # ------------------------------------------------------------------ what is chosen

    def _channel_axes(self, _: Any = None) -> list[tuple[str, int]]:
        return channel_axes(self.images.value)

    def _plane(self, image: Image) -> ImagePlane:
        return displayed_plane(image, self._viewer.dims, self.channel_axis.value if image.ndim > 2 else None)

    def _layer_planes(self, image: Image) -> LayerPlanes:
        return LayerPlanes.of(self._plane(image), self.planes.value == "all planes")

    def _application(self) -> Application:
        model = self.model
        assert model is not None
        settings = preferences().settings()
        planes = tuple(self._layer_planes(image) for image in self.images.value)
        statistics: Any = STATISTICS[self.statistics.value]
        smoothing, adaptation = self._continuity()
        return Application(
            model,
            self.network.value,
            planes,
            statistics=statistics,
            smoothing=smoothing,
            adaptation=adaptation,
            device=settings.device,
        )

    def _continuity(self) -> tuple[float, int]:
        """Smoothing and updates, of series."""
        return (self.smoothing.value, self.adaptation.value) if self._is_series() else (0.0, 0)

    def _is_series(self) -> bool:
        """Whether several planes of a layer are to be segmented."""
        return self.planes.value == "all planes" and any(image.ndim > 2 for image in self.images.value)

    def _refusal(self) -> str:
        """Why it cannot start, in words."""
        model = self.model
        if model is None:
            return "Train a network first (“Train on references”), or open one from its file."
        if not self.image_layers():
            return NO_IMAGE
        if not self.images.value:
            return "Choose one image or more."
        for image in self.images.value:
            try:
                there = gather(self._plane(image)).n_channels
            except ValueError as error:
                return str(error)
            if there != len(model.offset):
                return (
                    f"“{image.name}” has {there} channel{'s' * (there != 1)} and the network was trained on "
                    f"{len(model.offset)}: choose images like the references"
                    f"{', or set the channel axis' if self._channel_axes() else ''}."
                )
            planes = self._layer_planes(image)
            needed = (
                len(planes) * math.prod(planes.plane.shape) * np.min_scalar_type(max(model.legend.numbers)).itemsize
            )
            if needed > LARGEST_SHARE * total_memory(Device("cpu", "CPU", "")):
                return (
                    f"The labels of all planes of “{image.name}” would take {amount(needed)} of memory: choose the "
                    "displayed plane."
                )
        return ""

    def _needs(self) -> str:
        """The memory that updates take, in words; without them it is little."""
        model, (smoothing, adaptation) = self.model, self._continuity()
        if model is None or not adaptation:
            return ""
        device = preferences().settings().device
        shapes = [self._plane(image).shape for image in self.images.value]
        plans = [model.plan(each, smoothing=smoothing, adaptation=adaptation, device=device) for each in shapes]
        return f"Takes {max(plans, key=lambda plan: plan.bytes)}."

    # ------------------------------------------------------------------ once

    def _lay_out(self) -> None:
        self._channel_axis_row, self._planes_row = labeled(self.channel_axis), labeled(self.planes)
        self._series_rows = stacked([labeled(self.smoothing), labeled(self.adaptation)])
        self.smoothing.native.setSpecialValueText("off")
        images = labeled(self.images)
        images.native.setFixedHeight(100)  # a list asks for far more
        buttons = stacked([self.start_button, self.stop_button], layout="horizontal")
        rows = [self.intro, labeled(self.network), self.open_button, self.about, images, self._channel_axis_row]
        rows += [self._planes_row, self._series_rows, labeled(self.statistics), buttons]
        rows += [self.progress, self.hint, self.estimate, self.status]
        words = (self.intro, self.about, self.hint, self.estimate, self.status)
        self.lay_out(rows, wrapped=words, layer_boxes=(self.network, self.channel_axis, self.statistics))
        self.images.native.setFixedHeight(90)
        self.start_button.native.setObjectName("apply")

    def _connect(self) -> None:
        self._networks.changed.connect(self.offer_networks)
        self.images.changed.connect(self.offer_channels)
        for widget in (self.network, self.channel_axis, self.planes, self.adaptation):
            widget.changed.connect(self.refresh)
        self.open_button.changed.connect(self._ask_and_open)
        self.follow_viewer()
        self.offer_networks()

    def _ask_and_open(self) -> None:
        path = ask_for_network(self.native)
        if path is not None:
            self.open_network(path)


def described(model: Model) -> str:
    """The classes and the references of a network, as rich text with the classes' colors."""
    from html import escape

    classes = " ".join(
        f'<span style="color:{entry.color}">■</span>&nbsp;{escape(entry.name).replace(" ", "&nbsp;")}'
        for entry in list(model.legend)[:12]
    )
    more = " ..." if len(model.legend) > 12 else ""
    n_references, n_channels = len(model.references), len(model.offset)
    colors = "color" if model.is_rgb else f"{n_channels} channel{'s' * (n_channels != 1)}"
    size = ""
    if model.pixel_size is not None:
        size = f", pixels of {model.pixel_size[0]:.3g} µm"
    return f"{classes}{more}<br>{n_references} reference{'s' * (n_references != 1)}, {colors}{size}"
