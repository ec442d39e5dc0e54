import pytest

from headframe.core.errors import DatasetError, SiteError, UnknownNameError
from headframe.datasets.chips import open_dataset
from headframe.datasets.manifest import read_manifest, write_manifest
from headframe.datasets.sitefacts import (
    fact_values,
    join_facts,
    only_sites,
    parse_conditions,
    sites_where,
)
from headframe.io.places import Place

FACTS = {
    "a": {"material": "RR", "type": "OP", "year": 2016},
    "b": {"material": "RR", "type": "MT"},
    "c": {"material": "CL", "type": None},
}


def test_sites_meet_all_conditions():
    assert sites_where(FACTS, {}, source="ds") == {"a", "b", "c"}
    assert sites_where(FACTS, {"material": "rr"}, source="ds") == {"a", "b"}
    assert sites_where(FACTS, {"material": ("RR", "CL"), "type": "mt"}, source="ds") == {"b"}
    assert sites_where(FACTS, {"year": "2016"}, source="ds") == {"a"}
    assert sites_where(FACTS, {"year": 2016.0}, source="ds") == {"a"}
    assert fact_values(FACTS, "type") == ("MT", "OP")


def test_a_condition_that_nothing_meets_is_named():
    with pytest.raises(UnknownNameError, match=r"fact of the sites of ds 'materiel'; closest: mat"):
        sites_where(FACTS, {"materiel": "RR"}, source="ds")
    with pytest.raises(DatasetError, match=r"no site has material = MO; there is CL, RR"):
        sites_where(FACTS, {"material": "MO"}, source="ds")
    with pytest.raises(DatasetError, match=r"material = CL and type = OP together"):
        sites_where(FACTS, {"material": "CL", "type": "OP"}, source="ds")


def test_conditions_from_words():
    words = ["material=RR, MO", "type=OP"]
    assert parse_conditions(words) == {"material": ("RR", "MO"), "type": ("OP",)}
    for word in ("material", "=RR", "material="):
        with pytest.raises(DatasetError, match="write FIELD=VALUE"):
            parse_conditions([word])


def test_a_table_joins_by_names_as_people_write_them(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds", sites=3)
    facts = {"site_00": {"chips": 2, "type": "old"}}
    write_manifest(root, read_manifest(root).model_copy(update={"sites": facts}))
    table = [Place("Site 00", None, {"type": "OP"}), Place("elsewhere", None, {"type": "MT"})]
    report = join_facts(open_dataset(root), table, source="t.csv")
    assert report.facts == {"site_00": {"chips": 2, "type": "OP"}}
    assert report.fields == ("type",)
    assert report.missing == ("site_01", "site_02")
    assert report.unknown == ("elsewhere",)
    with pytest.raises(SiteError, match=r"t\.csv: none of its 1 sites \(elsewhere\)"):
        join_facts(open_dataset(root), table[1:], source="t.csv")


def test_a_view_of_some_sites_keeps_the_identifier(tmp_path, fakes):
    root = fakes.write_dataset(tmp_path / "ds", sites=3)
    facts = {f"site_{i:02d}": {"material": "RR" if i else "CL"} for i in range(3)}
    write_manifest(root, read_manifest(root).model_copy(update={"sites": facts}))
    dataset = open_dataset(root)
    view = only_sites(dataset, {"material": "RR"})
    assert {chip.site for chip in view.chips()} == {"site_01", "site_02"}
    assert len(dataset.chips()) == 6
    assert view.identifier == dataset.identifier
