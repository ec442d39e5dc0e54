from defusedxml.ElementTree import fromstring

from headframe.io.qml import Category, LayerStyle, write_style

STYLE = LayerStyle(
    field="review",
    categories=(
        Category("todo", "to do <now>", (255, 193, 7)),
        Category("reject", "rejected", (214, 39, 40), fill=0.0, dashed=True),
        Category("", "drawn anew", (1, 2, 3), fill=0.5),
    ),
    defaults={"review": "todo", "class": "miner's pit"},
    choices={"class": ("pit", "miner's pit")},
    locked=("score",),
)


def test_a_style_that_qgis_reads(tmp_path):
    write_style(tmp_path / "a.qml", STYLE)
    text = (tmp_path / "a.qml").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE qgis PUBLIC")
    root = fromstring(text.split("\n", 1)[1])
    renderer = root.find("renderer-v2")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "review")
    shown = [(c.get("value"), c.get("label"), c.get("symbol")) for c in root.iter("category")]
    assert shown == [
        ("todo", "to do <now>", "0"),
        ("reject", "rejected", "1"),
        ("", "drawn anew", "2"),
    ]
    options = [
        {o.get("name"): o.get("value") for o in symbol.iter("Option") if o.get("name")}
        for symbol in root.iter("symbol")
    ]
    assert [o["color"] for o in options] == ["255,193,7,51", "214,39,40,0", "1,2,3,128"]
    assert [o["outline_style"] for o in options] == ["solid", "dash", "solid"]
    assert {s.get("type") for s in root.iter("symbol")} == {"fill"}


def test_its_form_offers_values_and_locks_facts(tmp_path):
    write_style(tmp_path / "a.qml", STYLE)
    root = fromstring((tmp_path / "a.qml").read_text(encoding="utf-8").split("\n", 1)[1])
    lists = {
        field.get("name"): [o.get("value") for o in field.iter("Option") if o.get("value")]
        for field in root.find("fieldConfiguration")
    }
    assert lists == {"review": ["todo", "reject"], "class": ["pit", "miner's pit"]}
    defaults = {d.get("field"): d.get("expression") for d in root.iter("default")}
    assert defaults == {"review": "'todo'", "class": "'miner''s pit'"}
    editable = {f.get("name"): f.get("editable") for f in root.find("editable")}
    assert editable == {"review": "1", "class": "1", "score": "0"}
