"""Write the tables of docs/settings.md from the settings: ``python docs/make_settings.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_dfc.settings import PRESETS, Parameter, Settings, parameters

PAGE = Path(__file__).with_name("settings.md")
BEGIN, END = "<!-- made by docs/make_settings.py -->", "<!-- end -->"


def table() -> str:
    """All settings with their words in the widget, meaning, range and value in each preset."""
    head = f"| setting | in the widget | meaning | accepted | {' | '.join(PRESETS)} |"
    rows = [head, "|" + "---|" * (4 + len(PRESETS))]
    chosen = {preset: Settings.from_preset(preset).as_dict() for preset in PRESETS}
    for parameter in parameters():
        if parameter.name == "preset":
            continue
        values = " | ".join(_value(chosen[preset][parameter.name]) for preset in PRESETS)
        rows.append(
            f"| `{parameter.name}` | {parameter.label} | {parameter.meaning} | {_accepted(parameter)} | {values} |"
        )
    return "\n".join(rows)


def _accepted(parameter: Parameter) -> str:
    if parameter.choices:
        return ", ".join(parameter.choices)
    if parameter.least is None:
        return "yes, no"
    unit = f" {parameter.unit}" if parameter.unit else ""
    return f"{parameter.least:g} to {parameter.most:.10g}{unit}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def main() -> None:
    """Replace what stands between the two marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
