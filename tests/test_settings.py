from __future__ import annotations

import pytest

from napari_dfc.settings import DEFAULT_PRESET, PRESETS, Settings, parameters


def test_paper_and_published_are_literal() -> None:
    paper, published = Settings.from_preset("paper"), Settings.from_preset("published")
    for settings, n_conv, iterations, mu in ((paper, 3, 500, 5.0), (published, 2, 1000, 1.0)):
        assert (settings.n_channels, settings.n_conv, settings.max_iterations) == (100, n_conv, iterations)
        assert settings.continuity_weight == mu
        assert (settings.scribble_weight, settings.learning_rate, settings.momentum) == (0.5, 0.1, 0.9)
        assert (settings.input_scaling, settings.padding) == ("published", "zeros")
        assert not settings.restrict_to_scribbles
        assert (settings.n_networks, settings.similarity_weight, settings.balance_scribbles) == (1, 1.0, False)
        assert settings.full_resolution_up_to == 1_000_000
        assert not settings.keep_min_labels
    assert (paper.initialization, published.initialization) == ("xavier", "framework")
    assert (paper.min_labels, published.min_labels) == (1, 3)


def test_defaults_are_the_default_preset() -> None:
    assert Settings() == Settings.from_preset(DEFAULT_PRESET)
    assert PRESETS[DEFAULT_PRESET] == {}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_names_itself(preset: str) -> None:
    assert Settings.from_preset(preset).preset == preset


def test_changes_win_over_the_preset() -> None:
    settings = Settings.from_preset("paper", continuity_weight=50)
    assert settings.continuity_weight == 50.0
    assert isinstance(settings.continuity_weight, float)
    assert settings.max_iterations == 500


def test_as_dict_gives_the_settings_back() -> None:
    settings = Settings.from_preset("published", seed=9, device="cpu")
    assert Settings(**settings.as_dict()) == settings


def test_change_leaves_the_original_alone() -> None:
    settings = Settings()
    assert settings.change(seed=4).seed == 4
    assert settings.seed == 0


def test_unknown_presets_and_settings_are_named() -> None:
    with pytest.raises(ValueError, match="preset is 'slow'; accepted are paper, published, fast, balanced, accurate"):
        Settings.from_preset("slow")
    with pytest.raises(TypeError, match="unknown setting iterations; accepted are preset, split_into"):
        Settings.from_preset("fast", iterations=3)


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("min_labels", 0, ValueError, "min_labels is 0; accepted is a whole number from 1 to 1000"),
        ("n_channels", 1, ValueError, "from 2 to 1000"),
        ("n_channels", 2.5, TypeError, "a whole number"),
        ("max_iterations", "10", TypeError, "max_iterations is '10'"),
        ("max_iterations", None, TypeError, "a whole number"),
        ("continuity_weight", float("nan"), ValueError, "a number from 0 to 1000"),
        ("continuity_weight", float("inf"), ValueError, "a number from 0 to 1000"),
        ("continuity_weight", -1, ValueError, "a number from 0 to 1000"),
        ("momentum", True, TypeError, "a number"),
        ("seed", 2**31, ValueError, "from 0 to 2147483647"),
        ("seed", float("inf"), TypeError, "a whole number"),
        ("repeatable", 1, TypeError, "accepted are True and False"),
        ("continuity_schedule", "linear", ValueError, "accepted are constant, similarity, continuity"),
        ("superpixels", -1, ValueError, "superpixels is -1; accepted is a whole number from 0 to 100000"),
        ("superpixels", 10.5, TypeError, "a whole number"),
        ("device", "tpu", ValueError, "accepted are auto, cuda, mps, cpu"),
    ],
)
def test_bad_values_are_refused_with_what_is_accepted(
    name: str, value: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Settings(**{name: value})


def test_whole_numbers_may_come_as_floats_and_numpy_scalars() -> None:
    np = pytest.importorskip("numpy")
    settings = Settings(max_iterations=np.int16(20), n_channels=8.0, momentum=np.float32(0.5))
    assert (settings.max_iterations, settings.n_channels, settings.momentum) == (20, 8, 0.5)
    assert type(settings.max_iterations) is int


def test_parameters_describe_every_setting_for_people() -> None:
    for parameter in parameters():
        assert parameter.label
        assert parameter.meaning.endswith(".")
        assert bool(parameter.choices) or parameter.type is bool or parameter.least is not None
        assert getattr(Settings(), parameter.name) == parameter.default
