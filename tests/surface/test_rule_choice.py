import numpy as np
import pytest

from headframe.core.classmap import ClassInfo, ClassMap
from headframe.core.components import CLASS_SETS
from headframe.core.errors import InputError, UnknownNameError
from headframe.core.modelspec import InputSpec, ModelSpec
from headframe.io.bitrows import ArrayRows
from headframe.surface.rule_choice import RULE_NAMES, ComponentRules, RuleSources, choose_rules

RGB = ("red", "green", "blue")
MSI = ("green", "red", "nir", "swir16")


def spec(names, bands=RGB, sensor="sentinel-2-l2a"):
    infos = [ClassInfo(i, n, (i, 0, 0)) for i, n in enumerate(["background", *names])]
    n = len(bands)
    inputs = InputSpec(sensor, bands, 10.0, (0.1,) * n, (0.2,) * n, ((0.0, 0.1, 0.2),) * n)
    return ModelSpec("m", "unet", {}, inputs, ClassMap(tuple(infos)), patch_px=64)


FOUR = [spec(s.class_map.names[1:]) for s in CLASS_SETS.values()]


def test_none_and_names():
    assert choose_rules("none", FOUR) is None
    chosen = choose_rules("dam-at-tailings, slopes-in-excavation", FOUR)
    assert [r.name for r in chosen.rules] == ["slopes-in-excavation", "dam-at-tailings"]
    assert (chosen.snow_cloud, chosen.bands, chosen.skipped) == (None, (), {})


def test_all_that_is_possible():
    chosen = choose_rules("all", FOUR)
    assert [r.name for r in chosen.rules] == list(RULE_NAMES[2:])
    assert chosen.skipped == {
        "snow-cloud": "the models do not read nir, swir16, and no --scl is given",
        "land-cover": "no --land-cover is given",
    }
    few = choose_rules("all", FOUR[:1])
    assert [r.name for r in few.rules] == ["preparation-at-excavation"]
    assert few.skipped["inside-transformed-area"] == "no model finds transformed_area"
    assert few.skipped["dam-at-tailings"] == "no model finds dam"
    sources = RuleSources(land_cover="lc.tif", excluded=(10,), scl="scl.tif")
    everything = choose_rules("all", [*FOUR, spec(["x"], MSI)], sources=sources)
    assert everything.skipped == {}
    assert [r.name for r in everything.rules] == list(RULE_NAMES[1:])
    assert everything.snow_cloud.scl == "scl.tif"


def test_the_guard_reads_more_bands_only_where_asked_for_by_name():
    assert choose_rules("snow-cloud", FOUR).bands == ("nir", "swir16")
    multi = [spec(["excavation"], MSI)]
    assert choose_rules("all", multi).snow_cloud is not None
    assert choose_rules("all", multi).bands == ()


@pytest.mark.parametrize(
    ("text", "models", "sources", "message"),
    [
        ("dam-at-tailings", FOUR[:1], {}, "--rules dam-at-tailings: no model finds dam"),
        ("land-cover", FOUR, {}, "--rules land-cover: no --land-cover is given"),
        ("none", FOUR, {"land_cover": "x.tif"}, "--land-cover x.tif is for rule land-cover"),
        ("none", FOUR, {"scl": "s.tif"}, "--scl s.tif is for rule snow-cloud"),
        ("all", FOUR, {"land_cover": "x.tif"}, r"x\.tif: no class of it is excluded"),
        ("all", FOUR, {"excluded": (10,)}, "--land-cover-exclude is given without"),
    ],
)
def test_what_cannot_be_chosen(text, models, sources, message):
    with pytest.raises(InputError, match=message):
        choose_rules(text, models, sources=RuleSources(**sources))


def test_unknown_rules():
    with pytest.raises(UnknownNameError, match=r"unknown rule .dam.; closest: .*dam-at-tailings"):
        choose_rules("dam", FOUR)


def test_the_report_is_in_order_and_the_facts_tell_rules_apart():
    chosen = choose_rules("all", [spec(["excavation", "dam"], MSI)])
    rows = ArrayRows(np.zeros((3, 4), dtype=np.uint16))
    report = chosen.apply(rows, {"excavation": 0, "dam": 8}, geobox=None, guarded_px=5)
    assert [entry["rule"] for entry in report] == list(RULE_NAMES)
    assert report[0] == {"rule": "snow-cloud", "nodata_pixels": 5}
    assert report[1] == {"rule": "land-cover", "skipped": "no --land-cover is given"}
    assert chosen.facts() != choose_rules("all", FOUR).facts()


def test_without_a_guard():
    with ComponentRules().guard(None, ()) as guard:
        assert guard is None
