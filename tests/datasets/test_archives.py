"""Which image of a period is taken."""

from datetime import UTC, date, datetime

import pystac
import pytest
import shapely

from headframe.core.errors import DatasetError, UnknownNameError
from headframe.datasets.archives import (
    Rule,
    get_collection,
    get_rule,
    licence_of,
    make_rule,
    parse_day,
    periods,
    ranked,
)


def test_ranking_prefers_cover_then_cloud_then_the_middle():
    rule = Rule(date(2021, 1, 1), date(2021, 12, 31), 5.0)
    (period,) = periods(rule)
    area = shapely.box(0, 0, 1, 1)

    def item(name, cloud, day, shape=area):
        moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
        extra = {} if cloud is None else {"eo:cloud_cover": cloud}
        return pystac.Item(name, shapely.geometry.mapping(shape), [0, 0, 1, 1], moment, extra)

    items = [
        item("cut", 0.0, "2021-07-02", shapely.box(0, 0, 1, 0.5)),
        item("early", 0.5, "2021-06-01"),
        item("late", 0.5, "2021-07-10"),
        item("clear", 0.1, "2021-12-31"),
        item("cloudy", 5.1, "2021-07-02"),
        item("unsaid", None, "2021-07-02"),
        item("other-year", 0.0, "2020-12-31"),
    ]
    s2, s1 = get_collection("sentinel-2-l2a"), get_collection("sentinel-1-grd")
    order = ranked(items, period, collection=s2, rule=rule, area=area)
    assert [i.id for i in order] == ["clear", "late", "early", "cut"]
    order = ranked(items, period, collection=s1, rule=rule, area=area)
    assert [i.id for i in order][:2] == ["cloudy", "unsaid"]
    assert order[-1].id == "cut"


def test_periods_are_cut_by_the_time_wanted():
    year = periods(Rule(date(2016, 1, 1), date(2022, 12, 31)))
    assert [p.name for p in year] == [str(y) for y in range(2016, 2023)]
    season = periods(Rule(date(2021, 4, 1), date(2021, 9, 1)))
    assert season[0].middle.date() == date(2021, 6, 16)
    months = periods(Rule(date(2020, 12, 31), date(2021, 2, 1), one_per="month"))
    assert [(p.name, p.start.day, p.end.day) for p in months] == [
        ("2020-12", 31, 31), ("2021-01", 1, 31), ("2021-02", 1, 1),
    ]  # fmt: skip


def test_bad_rules_are_told_in_one_line():
    with pytest.raises(DatasetError, match=r"--start 2021-13-01: is no date"):
        parse_day("2021-13-01", "--start")
    with pytest.raises(DatasetError, match=r"--start 2022-01-01 lies after --end 2021-01-01"):
        Rule(date(2022, 1, 1), date(2021, 1, 1))
    with pytest.raises(DatasetError, match=r"--max-cloud 101"):
        Rule(date(2021, 1, 1), date(2021, 1, 1), 101.0)


def test_a_preset_gives_way_to_what_is_said():
    paper = get_rule("minesegsat")
    assert make_rule("minesegsat") == paper
    rule = make_rule("minesegsat", end="2022-09-01", max_cloud=0.0)
    assert (rule.start, rule.end, rule.max_cloud, rule.size_m) == (
        date(2021, 4, 1), date(2022, 9, 1), 0.0, 7680.0,
    )  # fmt: skip
    assert [p.name for p in periods(get_rule("minecam"))][-1] == "2022"
    with pytest.raises(UnknownNameError, match="preset 'x'"):
        make_rule("x")
    with pytest.raises(DatasetError, match="--start is needed"):
        make_rule(None, end="2022-09-01")


def test_licences():
    s2 = get_collection("sentinel-2-l2a")
    moment = datetime(2021, 1, 1, tzinfo=UTC)
    item = pystac.Item("x", None, None, moment, {})
    assert licence_of(item, s2).startswith("Copernicus")
    item.add_link(pystac.Link("license", "https://example.org/terms"))
    assert licence_of(item, s2) == "https://example.org/terms"
    item.properties["license"] = "CC-BY-4.0"
    assert licence_of(item, s2) == "CC-BY-4.0"
