"""The form for the settings: one control for each, made from what `napari_dfc.settings` says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicgui.widgets import CheckBox, Container, Label, PushButton, create_widget

from napari_dfc.settings import Parameter, Settings, parameters

__all__ = ["SettingsForm", "labeled", "stacked"]

#: Width of the column of labels, in pixels; magicgui's own column is too narrow in napari's font.
LABEL_WIDTH = 130


class SettingsForm(Container[Any]):
    """Controls for every setting, the less usual ones folded away under "Advanced".

    Choosing a preset fills in its values; each can be changed afterwards.

    Parameters
    ----------
    settings : Settings
        What the form shows first.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self._controls = {parameter.name: _control(parameter) for parameter in parameters()}
        basic = stacked([labeled(self._controls[each.name]) for each in parameters() if each.basic])
        advanced = stacked([labeled(self._controls[each.name]) for each in parameters() if not each.basic])
        self._unfold = PushButton(text="Advanced ▸", tooltip="Show or hide the less usual settings.")
        self._advanced = advanced
        self.extend([basic, self._unfold, advanced])
        advanced.visible = False
        self.show_settings(settings)
        self._controls["preset"].changed.connect(self._take_preset)
        self._controls["split_into"].changed.connect(self._follow_pieces)
        self._unfold.changed.connect(self.unfold)

    def settings(self) -> Settings:
        """The settings as the controls stand."""
        return Settings(**{name: control.value for name, control in self._controls.items()})

    def show_settings(self, settings: Settings) -> None:
        """Set every control."""
        for name, value in settings.as_dict().items():
            with self._controls[name].changed.blocked():
                self._controls[name].value = value
        self._follow_pieces(settings.split_into)

    def control(self, name: str) -> Any:
        """The control of a setting."""
        return self._controls[name]

    def _take_preset(self, preset: str) -> None:
        kept = {name: self._controls[name].value for name in ("device", "seed", "threads", "repeatable")}
        self.show_settings(Settings.from_preset(preset, **kept))
        self.changed.emit(self)

    def _follow_pieces(self, split_into: str) -> None:
        """What has no effect on such pieces can't be set."""
        for parameter in parameters():
            if parameter.only_with:
                self._controls[parameter.name].enabled = split_into in parameter.only_with

    def unfold(self) -> None:
        """Show the less usual settings, or hide them again."""
        self._advanced.visible = not self._advanced.visible
        self._unfold.text = "Advanced ▾" if self._advanced.visible else "Advanced ▸"


def labeled(control: Any) -> Container[Any]:
    """A control with its label before it, in a column of one width throughout the dock."""
    if isinstance(control, CheckBox):  # it carries its own words
        return stacked([control])
    label = Label(value=control.label, tooltip=control.tooltip)
    label.native.setFixedWidth(LABEL_WIDTH)
    label.native.setWordWrap(True)
    return stacked([label, control], layout="horizontal")


def stacked(widgets: Sequence[Any], layout: str = "vertical") -> Container[Any]:
    """Widgets one after the other, without labels and margins."""
    container = Container(widgets=widgets, layout=layout, labels=False)
    container.margins = (0, 0, 0, 0)
    return container


def _control(parameter: Parameter) -> Any:
    """The control for a setting."""
    options: dict[str, Any] = {"tooltip": parameter.meaning}
    if parameter.choices:
        kind = "ComboBox"
        options |= {"choices": parameter.choices}
    elif parameter.type is bool:
        kind = "CheckBox"
    else:
        kind = "SpinBox" if parameter.type is int else "FloatSpinBox"
        options |= {"min": parameter.least, "max": parameter.most, "step": parameter.step}
    return create_widget(
        parameter.default, widget_type=kind, name=parameter.name, label=parameter.label, options=options
    )
