"""The one home of every parameter: its default, range, label, meaning and unit.

The form in napari, the options of the command line, the record kept with a result and the table in the documentation
are all derived from the fields of `Settings`; nothing else spells a default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args, get_type_hints

__all__ = [
    "DEFAULT_PRESET",
    "MOST_UPDATES",
    "PRESETS",
    "USUAL_UPDATES",
    "Parameter",
    "PresetName",
    "Settings",
    "parameters",
]

PresetName = Literal["paper", "published", "fast", "balanced", "accurate"]
InputScaling = Literal["percentile", "published"]
Pieces = Literal["groups", "regions", "clusters"]
Extractor = Literal["both", "convolutions", "filters"]
ContinuitySchedule = Literal["constant", "similarity", "continuity"]
Padding = Literal["replicate", "zeros"]
Initialization = Literal["xavier", "framework"]
DeviceName = Literal["auto", "cuda", "mps", "cpu"]
Precision = Literal["auto", "float32", "bfloat16"]

DEFAULT_PRESET: PresetName = "balanced"

#: Updates of a kept network on a frame of a series: at most, and where they are first tried.
MOST_UPDATES, USUAL_UPDATES = 50, 5


@dataclass(frozen=True)
class Parameter:
    """What a form, a command line or a table needs to know about one setting.

    Parameters
    ----------
    name : str
        Name of the field of `Settings`.
    type : type
        ``int``, ``float``, ``bool``, or a ``Literal`` of strings.
    default : int, float, bool or str
        Value in the default preset.
    label : str
        A few words, for a form.
    meaning : str
        One or two sentences in a biologist's words.
    unit : str
        What the number counts; empty for a pure number or a choice.
    least, most : float or None
        Smallest and largest accepted value, both included; None for choices.
    step : float
        What one click in a form adds.
    basic : bool
        Whether a form shows it at once rather than under "Advanced".
    only_with : tuple of str
        Values of ``split_into`` without which it has no effect; empty where it always has.
    """

    name: str
    type: Any
    default: Any
    label: str
    meaning: str
    unit: str = ""
    least: float | None = None
    most: float | None = None
    step: float = 1
    basic: bool = False
    only_with: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The accepted words, empty for a number or a yes/no."""
        return get_args(self.type)


def _parameter(default: Any, label: str, meaning: str, **facts: Any) -> Any:
    return field(default=default, metadata={"label": label, "meaning": meaning, **facts})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every parameter of a run; the defaults are the preset "balanced".

    Use `Settings.from_preset` to start from another preset. Symbols in brackets are those of the paper.

    Raises
    ------
    TypeError
        A value of the wrong type.
    ValueError
        A value out of range, or a word that is not among the choices.

    Examples
    --------
    >>> Settings.from_preset("paper", continuity_weight=50.0).max_iterations
    500
    >>> Settings(min_labels=0)
    Traceback (most recent call last):
        ...
    ValueError: min_labels is 0; accepted is a whole number from 1 to 1000
    """

    preset: PresetName = _parameter(
        DEFAULT_PRESET,
        "Preset",
        "The set of values to start from. paper and published compute what the article and its authors' code do.",
        basic=True,
    )
    split_into: Pieces = _parameter(
        "groups",
        "Split into",
        "groups: pieces of the image that look alike share a label, wherever they lie, as many labels as you ask for; "
        "regions: every label is one connected piece, and pieces that differ or have an edge between them stay apart; "
        "clusters: the labels that the optimization ends with, as the article has them. With strokes: always the "
        "painted classes.",
        basic=True,
    )
    n_groups: int = _parameter(
        5,
        "Groups",
        "How many labels there are to be; only with groups, and without strokes. An uneven background often takes more "
        "than one: two or three are a good start for bright or dark objects.",
        unit="groups",
        least=1,
        most=1000,
        basic=True,
        only_with=("groups",),
    )
    region_scale: float = _parameter(
        1.0,
        "Region scale",
        "With regions: how much two neighbors must differ to stay apart. Higher: fewer and larger regions.",
        least=0.0,
        most=1000.0,
        step=0.25,
        basic=True,
        only_with=("regions",),
    )
    continuity_weight: float = _parameter(
        1.0,
        "Continuity weight",
        "How strongly neighboring pixels are drawn to the same label [mu]. Higher: fewer, larger, smoother regions.",
        least=0.0,
        most=1000.0,
        step=0.5,
        basic=True,
    )
    region_iterations: int = _parameter(
        6,
        "Voting iterations",
        "With groups and regions: updates of each network, in place of Iterations. The label map after each has a say "
        "on what belongs together.",
        unit="iterations",
        least=1,
        most=100_000,
    )
    min_labels: int = _parameter(
        3,
        "Least labels",
        "With clusters: the optimization stops once no more labels than this are left. It is not the number of labels: "
        "that follows from the image. With strokes of one class it is 1; with strokes of two or more, all iterations "
        "are made.",
        unit="labels",
        least=1,
        most=1000,
    )
    max_iterations: int = _parameter(
        60,
        "Iterations",
        "The optimization ends after this many updates of the network [T], if it has not stopped before.",
        unit="iterations",
        least=1,
        most=100_000,
        step=10,
    )
    n_channels: int = _parameter(
        32,
        "Channels",
        "Features for each pixel, and the largest number of clusters there can be [p = q]. More is finer and slower.",
        unit="channels",
        least=2,
        most=1000,
        step=4,
    )
    n_conv: int = _parameter(
        2,
        "Convolutions",
        "Layers of 3x3 convolution [M]. Each lets a pixel look one pixel further around itself.",
        unit="layers",
        least=1,
        most=16,
    )
    extractor: Extractor = _parameter(
        "both",
        "Features",
        "What pixels are compared by. convolutions: features learned from this image, as in the article; filters: "
        "brightness, edges and curvature at four scales, for which few strokes are enough; both: with two or more "
        "painted classes and only these, one network of filters is averaged with those of convolutions, and of a gray "
        "image counts as much as all of these; otherwise the same as convolutions.",
    )
    continuity_schedule: ContinuitySchedule = _parameter(
        "constant",
        "Weight schedule",
        "constant: the continuity weight stays as it is. similarity: it relaxes as labels become fewer [times q'/15]; "
        "continuity: it tightens [times 50/q']. q' is the number of labels in the iteration before; with a continuity "
        "weight of 1 the last two are DynaSeg's.",
    )
    superpixels: int = _parameter(
        0,
        "Superpixels",
        "The image is first cut into about so many patches of pixels that look alike (SLIC), and all pixels of a patch "
        "are drawn to the label that most of them have; 0: none. The article's predecessor takes 10000 of them instead "
        "of the continuity loss: set the continuity weight to 0 for it.",
        unit="superpixels",
        least=0,
        most=100_000,
        step=100,
    )
    scribble_weight: float = _parameter(
        2.0,
        "Scribble weight",
        "How strongly the painted strokes bind the result [nu].",
        least=0.0,
        most=1000.0,
        step=0.1,
    )
    balance_scribbles: bool = _parameter(
        True,
        "Classes count alike",
        "Every painted class counts alike, however much of it is painted; off, every painted pixel counts alike.",
    )
    similarity_weight: float = _parameter(
        0.2,
        "Similarity weight",
        "With strokes: how strongly every other pixel is held to the label that it has at the moment. Low, the strokes "
        "decide; 1 is the article's. Without strokes it is always 1.",
        least=0.0,
        most=1000.0,
        step=0.1,
    )
    restrict_to_scribbles: bool = _parameter(
        True,
        "Only the painted classes",
        "With two or more painted classes, every pixel gets one of them; off, further clusters may remain beside them.",
    )
    n_networks: int = _parameter(
        2,
        "Networks",
        "With strokes of two classes or more: so many networks, each from first weights of its own and some of them at "
        "half the resolution, are optimized side by side and averaged. With groups and regions: one after the other.",
        unit="networks",
        least=1,
        most=16,
    )
    edge_share: float = _parameter(
        0.5,
        "Edge share",
        "With two or more painted classes and only these: how closely they follow the edges in the image. 0: they do "
        "not look at edges; 1: every small piece between edges has one class.",
        least=0.0,
        most=1.0,
        step=0.1,
    )
    full_resolution_up_to: int = _parameter(
        768,
        "Full size up to",
        "With strokes of two classes or more: an image with a longer side than this is looked at with half its "
        "resolution, which is four times faster.",
        unit="pixels",
        least=1,
        most=1_000_000,
        step=128,
    )
    learning_rate: float = _parameter(
        0.1,
        "Learning rate",
        "Length of each step of stochastic gradient descent.",
        least=1e-6,
        most=10.0,
        step=0.01,
    )
    momentum: float = _parameter(
        0.9,
        "Momentum",
        "Share of the previous step that is carried into the next one.",
        least=0.0,
        most=0.999,
        step=0.05,
    )
    input_scaling: InputScaling = _parameter(
        "percentile",
        "Input scaling",
        "percentile: each channel by its own 0.1 to 99.9 percentile; published: by its data type's range (8-bit: 255).",
    )
    padding: Padding = _parameter(
        "replicate",
        "Beyond the border",
        "replicate: the image goes on as at its border; zeros: it is 0 there, as in the published code, and the "
        "border may get labels of its own.",
    )
    initialization: Initialization = _parameter(
        "xavier",
        "Initial weights",
        "xavier: uniform Xavier weights, as in the paper; framework: PyTorch's default, as in the published code.",
    )
    keep_min_labels: bool = _parameter(
        True,
        "Keep enough labels",
        "The result is the last map with at least the least number of labels; off, the last map whatever its count.",
    )
    seed: int = _parameter(
        0,
        "Seed",
        "Start of the random numbers: the same seed and settings give the same labels.",
        least=0,
        most=2**31 - 1,
    )
    device: DeviceName = _parameter(
        "auto",
        "Device",
        "Where to compute; auto takes the graphics processor where PyTorch can use one.",
    )
    precision: Precision = _parameter(
        "auto",
        "Precision",
        "Of the products in which most of the time goes. auto: float32, on a CUDA device as TF32; bfloat16: two "
        "digits, faster on processors that have it, and computed in float32 on all others.",
    )
    repeatable: bool = _parameter(
        False,
        "Repeatable on the GPU",
        "Asks a CUDA device for the same labels bit for bit in every run; slower. The CPU always gives them.",
    )
    threads: int = _parameter(
        0,
        "Threads",
        "Processor threads to compute with; 0 takes as many as PyTorch does by itself.",
        unit="threads",
        least=0,
        most=1024,
    )

    memory_limit: float = _parameter(
        0.0,
        "Memory limit",
        "Most memory that a run may take, as far as there is as much. A larger image is learned crop by crop and then "
        "labeled as a whole. 0: 2 GB, or most of a CUDA device's own memory.",
        unit="GB",
        step=0.5,
        least=0.0,
        most=10_000.0,
    )

    def __post_init__(self) -> None:
        for parameter in parameters():
            object.__setattr__(self, parameter.name, _checked(parameter, getattr(self, parameter.name)))

    @classmethod
    def from_preset(cls, preset: str = DEFAULT_PRESET, **changes: Any) -> Settings:
        """Settings of a preset, with some of them changed.

        Parameters
        ----------
        preset : str
            One of `PRESETS`.
        **changes
            Any field of `Settings`.

        Returns
        -------
        Settings

        Raises
        ------
        TypeError
            An unknown setting, or a value of the wrong type.
        ValueError
            An unknown preset, or a value out of range.

        Examples
        --------
        >>> Settings.from_preset("published").min_labels
        3
        """
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}; accepted are {', '.join(PRESETS)}")
        unknown = sorted(set(changes) - {parameter.name for parameter in parameters()})
        if unknown:
            accepted = ", ".join(parameter.name for parameter in parameters())
            raise TypeError(f"unknown setting {', '.join(unknown)}; accepted are {accepted}")
        return cls(**{"preset": preset, **PRESETS[preset], **changes})

    def change(self, **changes: Any) -> Settings:
        """The same settings with some of them changed."""
        return replace(self, **changes)

    def takes_votes(self, has_strokes: bool) -> bool:
        """Whether a run with these settings gives groups or regions; with strokes it never does."""
        return self.split_into != "clusters" and not has_strokes

    def n_updates(self, has_strokes: bool) -> int:
        """After how many updates of networks a run ends, if it does not stop before."""
        if self.takes_votes(has_strokes):
            return self.n_networks * self.region_iterations
        return self.max_iterations

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values; ``Settings(**settings.as_dict())`` gives them back."""
        return asdict(self)


#: What each preset sets differently from the defaults. What "fast", "balanced" and "accurate" do when they split into
#: clusters, is a first guess.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": {
            "min_labels": 1,
            "split_into": "clusters",
            "continuity_weight": 5.0,
            "max_iterations": 500,
            "n_channels": 100,
            "n_conv": 3,
            "scribble_weight": 0.5,
            "balance_scribbles": False,
            "similarity_weight": 1.0,
            "n_networks": 1,
            "edge_share": 0.0,
            "extractor": "convolutions",
            "full_resolution_up_to": 1_000_000,
            "restrict_to_scribbles": False,
            "input_scaling": "published",
            "padding": "zeros",
            "keep_min_labels": False,
            "memory_limit": 10_000.0,  # crops would not be what the article computes
        },
        "published": {
            "split_into": "clusters",
            "max_iterations": 1000,
            "n_channels": 100,
            "scribble_weight": 0.5,
            "balance_scribbles": False,
            "similarity_weight": 1.0,
            "n_networks": 1,
            "edge_share": 0.0,
            "extractor": "convolutions",
            "full_resolution_up_to": 1_000_000,
            "restrict_to_scribbles": False,
            "input_scaling": "published",
            "padding": "zeros",
            "initialization": "framework",
            "keep_min_labels": False,
            "memory_limit": 10_000.0,
        },
        "fast": {"max_iterations": 30, "n_channels": 24},
        "balanced": {},
        "accurate": {"max_iterations": 120, "n_networks": 4},
    }
)


def parameters() -> tuple[Parameter, ...]:
    """All settings in the order in which a form shows them.

    Returns
    -------
    tuple of Parameter

    Examples
    --------
    >>> [parameter.name for parameter in parameters() if parameter.basic]
    ['preset', 'split_into', 'n_groups', 'region_scale', 'continuity_weight']
    """
    global _parameters
    if not _parameters:
        types = get_type_hints(Settings)
        _parameters = tuple(
            Parameter(name=each.name, type=types[each.name], default=each.default, **each.metadata)
            for each in fields(Settings)
        )
    return _parameters


_parameters: tuple[Parameter, ...] = ()


def _checked(parameter: Parameter, value: Any) -> Any:
    """The value as the parameter's own type, or an error that says what came and what is accepted."""
    if parameter.choices:
        if value not in parameter.choices:
            raise ValueError(f"{parameter.name} is {value!r}; accepted are {', '.join(parameter.choices)}")
        return value
    if parameter.type is bool:
        if not isinstance(value, bool):
            raise TypeError(f"{parameter.name} is {value!r}; accepted are True and False")
        return value
    kind = "a whole number" if parameter.type is int else "a number"
    accepted = f"accepted is {kind} from {parameter.least:g} to {parameter.most:g}"
    if parameter.most is not None and parameter.most >= 1e6:
        accepted = f"accepted is {kind} from {parameter.least:g} to {parameter.most:.0f}"
    try:
        number = parameter.type(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{parameter.name} is {value!r}; {accepted}") from error
    if isinstance(value, bool | str) or (number != value and not math.isnan(number)):
        raise TypeError(f"{parameter.name} is {value!r}; {accepted}")
    if not parameter.least <= number <= parameter.most:
        raise ValueError(f"{parameter.name} is {value!r}; {accepted}")
    return number
