from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_dfc.preset_file import MOST_BYTES, NamedSettings, as_text, from_text, read_settings, save_settings
from napari_dfc.settings import PRESETS, Parameter, Settings, parameters


def values_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    """What a setting may be."""
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.type is bool:
        return st.booleans()
    assert parameter.least is not None
    assert parameter.most is not None
    if parameter.type is int:
        return st.integers(int(parameter.least), int(parameter.most))
    return st.floats(parameter.least, parameter.most)


some_settings = st.builds(
    Settings.from_preset,
    st.sampled_from(list(PRESETS)),
    **{each.name: values_of(each) for each in parameters() if each.name != "preset"},
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=5,
)


def document(**changes: Any) -> dict[str, Any]:
    """What a file holds, with some of it changed; `None` leaves it out."""
    found = {"format": 1, "name": "Nuclei", "preset": "fast", "changes": {"n_groups": 3}, **changes}
    return {key: value for key, value in found.items() if value is not None}


def assert_one_line(words: str) -> None:
    assert words
    assert len(words.splitlines()) == 1
    assert len(words) < 600


# ---------------------------------------------------------------------- there and back


@given(some_settings)
def test_what_was_saved_is_read_again(settings: Settings) -> None:
    assert from_text(as_text(settings, "Nuclei")) == NamedSettings("Nuclei", settings)


@pytest.mark.parametrize("preset", PRESETS)
def test_only_what_differs_from_the_preset_is_written(preset: str) -> None:
    settings = Settings.from_preset(preset, n_groups=7)
    found = json.loads(as_text(settings, "mine"))
    assert found == {"format": 1, "name": "mine", "preset": preset, "changes": {"n_groups": 7}}


def test_a_file_is_named_after_itself_unless_it_is_given_a_name(tmp_path: Path) -> None:
    path = tmp_path / "Gewebe blau.dfc-preset.json"
    save_settings(path, Settings(seed=3))
    assert read_settings(path) == NamedSettings("Gewebe blau", Settings(seed=3))
    save_settings(path, Settings(seed=3), "Kärnor", overwrite=True)
    assert read_settings(path).name == "Kärnor"


def test_a_file_that_an_editor_gave_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.dfc-preset.json"
    path.write_text(as_text(Settings(seed=3), "a").replace("\n", "\r\n"), encoding="utf-8-sig")
    assert read_settings(path).settings == Settings(seed=3)


# ---------------------------------------------------------------------- never unasked, never half


def test_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.dfc-preset.json"
    save_settings(path, Settings(seed=1))
    with pytest.raises(FileExistsError, match="exists already"):
        save_settings(path, Settings(seed=2))
    assert read_settings(path).settings.seed == 1
    save_settings(path, Settings(seed=2), overwrite=True)
    assert read_settings(path).settings.seed == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["two\nlines", "x" * 101, "   "])
def test_a_name_that_cannot_be_one_leaves_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="accepted is one line of 1 to 100 letters"):
        save_settings(tmp_path / "a.dfc-preset.json", Settings(), name)
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"accepted are those that end in \.dfc-preset.json"):
        save_settings(tmp_path / "a.json", Settings())


# ---------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": None}, "holds no settings of napari-dfc"),
        ({"format": True}, "holds no settings of napari-dfc"),
        ({"format": 2}, "update napari-dfc"),
        ({"name": None}, "'name' is missing"),
        ({"name": 3}, "name is 3; accepted is one line"),
        ({"author": "me"}, "'author' is unknown"),
        ({"preset": "slow"}, "preset is 'slow'; accepted are paper, published"),
        ({"preset": ["fast"]}, "accepted are paper, published"),
        ({"changes": [1]}, "accepted is an object of settings"),
        ({"changes": {"n_grups": 3}}, "the setting 'n_grups' is unknown; delete it from the file, or update"),
        ({"changes": {"preset": "paper"}}, "the setting 'preset' is unknown"),
        ({"changes": {"n_groups": 0}}, "n_groups is 0; accepted is a whole number from 1 to 1000"),
        ({"changes": {"n_groups": 2.5}}, "n_groups is 2.5; accepted is a whole number"),
        ({"changes": {"n_groups": "3"}}, "n_groups is '3'; accepted is a whole number"),
        ({"changes": {"momentum": 10**400}}, "accepted is a number from 0 to 0.999"),
        ({"changes": {"repeatable": 1}}, "accepted are True and False"),
        ({"changes": {"padding": {}}}, "accepted are replicate, zeros"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_says_what_is_accepted(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = tmp_path / "a.dfc-preset.json"
    path.write_text(json.dumps(document(**changes)), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^a\.dfc-preset\.json: ") as refusal:
        read_settings(path)
    assert words in str(refusal.value)
    assert_one_line(str(refusal.value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1]",
        b"\xff\xfe\x00",
        b"[" * 60_000,
        b'{"format": ' + b"9" * 5000 + b"}",
        as_text(Settings(seed=1), "a").encode()[:-5],
        as_text(Settings(seed=1), "a").encode() + b" " * MOST_BYTES,
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.dfc-preset.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^a\.dfc-preset\.json: .*(choose a file|save the settings again)") as refusal:
        read_settings(path)
    assert_one_line(str(refusal.value))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"format": 1, "name": "a", "preset": "fast", "changes": {"seed": 1, "seed": 2}}', "a name twice"),
        ('{"format": 1, "name": "a", "preset": "fast", "changes": {"momentum": NaN}}', "the number NaN"),
    ],
)
def test_what_json_readers_usually_let_pass_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_text(text)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; accepted is a settings file"):
        read_settings(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; look whether its name is right"):
        read_settings(tmp_path / "b.dfc-preset.json")


@given(st.text() | json_values.map(json.dumps))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        assert isinstance(from_text(text).settings, Settings)
    except ValueError as error:
        assert_one_line(str(error))


@given(st.sampled_from(["format", "name", "preset", "changes"]), json_values)
@example("name", "\x85")
@example("name", "\ud800")
def test_no_wrong_part_breaks_the_reader(key: str, value: Any) -> None:
    try:
        found = from_text(json.dumps({**document(), key: value}))
    except ValueError as error:
        assert_one_line(str(error))
    else:
        assert from_text(as_text(found.settings, found.name)) == found


@given(st.sampled_from([each.name for each in parameters()]), json_values)
def test_no_value_of_a_setting_breaks_the_reader(name: str, value: Any) -> None:
    try:
        settings = from_text(json.dumps(document(changes={name: value}))).settings
    except ValueError as error:
        assert_one_line(str(error))
    else:
        assert Settings(**settings.as_dict()) == settings
