"""Styles for QGIS: a layer of polygons coloured by one text field, with a form to fill in.

QGIS takes ``name.qml`` for the style of ``name.gpkg`` beside it. Elements and attributes are those
that QGIS 3 writes itself for the categories "Symbology", "Fields" and "Forms"; what is left out
keeps QGIS's defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

from headframe.io.files import write_text

_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0"
_Color = tuple[int, int, int]


@dataclass(frozen=True)
class Category:
    """One value of the field that colours go by.

    Attributes:
        value: as it stands in the field; "" also stands for no value and for all others.
        label: in the legend.
        color: of the outline and, thinned, of the inside, sRGB.
        fill: how opaque the inside is, 0-1.
        dashed: whether the outline is.
    """

    value: str
    label: str
    color: _Color
    fill: float = 0.2
    dashed: bool = False


@dataclass(frozen=True)
class LayerStyle:
    """How a layer looks and is filled in.

    Attributes:
        field: text field that colours go by; its form is a list of the categories' values.
        categories: in the order of the legend.
        defaults: value of text fields of a polygon that is drawn anew.
        choices: further text fields that are filled in from a list, and their values.
        locked: fields that the form shows and does not let anybody change.
    """

    field: str
    categories: Sequence[Category]
    defaults: dict[str, str]
    choices: dict[str, Sequence[str]]
    locked: Sequence[str]


def write_style(path: Path, style: LayerStyle) -> None:
    """Write a QML file.

    Raises:
        OutputError: it cannot be written.
    """
    root = Xml.Element("qgis", version=_VERSION, styleCategories="Symbology|Fields|Forms")
    _renderer(root, style)
    values = [category.value for category in style.categories if category.value]
    lists = {style.field: values, **style.choices}
    fields = Xml.SubElement(root, "fieldConfiguration")
    for name, choices in lists.items():
        _list_widget(fields, name, choices)
    defaults = Xml.SubElement(root, "defaults")
    for name, value in style.defaults.items():
        quoted = value.replace("'", "''")
        Xml.SubElement(defaults, "default", field=name, expression=f"'{quoted}'", applyOnUpdate="0")
    editable = Xml.SubElement(root, "editable")
    for name in (*lists, *style.locked):
        Xml.SubElement(editable, "field", name=name, editable="0" if name in style.locked else "1")
    Xml.SubElement(root, "layerGeometryType").text = "2"
    Xml.indent(root)
    write_text(path, _HEAD + Xml.tostring(root, encoding="unicode") + "\n")


def _renderer(root: Xml.Element, style: LayerStyle) -> None:
    renderer = Xml.SubElement(
        root,
        "renderer-v2",
        type="categorizedSymbol",
        attr=style.field,
        symbollevels="0",
        enableorderby="0",
        forceraster="0",
    )
    categories = Xml.SubElement(renderer, "categories")
    symbols = Xml.SubElement(renderer, "symbols")
    for number, category in enumerate(style.categories):
        Xml.SubElement(
            categories,
            "category",
            type="string",
            value=category.value,
            label=category.label,
            symbol=str(number),
            render="true",
        )
        symbol = Xml.SubElement(
            symbols,
            "symbol",
            type="fill",
            name=str(number),
            alpha="1",
            clip_to_extent="1",
            force_rhr="0",
        )
        layer = Xml.SubElement(
            symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
        )
        options = Xml.SubElement(layer, "Option", type="Map")
        colors = ",".join(map(str, category.color))
        for name, value in (
            ("color", f"{colors},{round(255 * category.fill)}"),
            ("joinstyle", "round"),
            ("outline_color", f"{colors},255"),
            ("outline_style", "dash" if category.dashed else "solid"),
            ("outline_width", "0.5"),
            ("outline_width_unit", "MM"),
            ("style", "solid"),
        ):
            Xml.SubElement(options, "Option", name=name, value=value, type="QString")


def _list_widget(fields: Xml.Element, name: str, values: Sequence[str]) -> None:
    field = Xml.SubElement(fields, "field", name=name)
    widget = Xml.SubElement(field, "editWidget", type="ValueMap")
    config = Xml.SubElement(Xml.SubElement(widget, "config"), "Option", type="Map")
    entries = Xml.SubElement(config, "Option", name="map", type="List")
    for value in values:
        entry = Xml.SubElement(entries, "Option", type="Map")
        Xml.SubElement(entry, "Option", name=value, value=value, type="QString")
