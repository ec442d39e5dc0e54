"""Embeddings on disk: kept, found again, dropped when anything changes."""

import os
import shutil

import numpy as np
import pytest
import torch

from headframe.core.errors import InputError
from headframe.engine.prompting import CacheOptions, SceneEmbeddings, prompts_of
from headframe.engine.prompting.cache import CachedTile, EmbeddingCache
from headframe.engine.prompting.session import PromptOptions, prompt_scene


@pytest.fixture
def source(fake, tmp_path):
    return fake.scene(tmp_path / "scene.tif", fake.blob())


@pytest.fixture
def ask(tmp_path, source):
    """Ask at one point; give the mask and how often the network had to look."""

    def call(prompter, *, where=source, cache=tmp_path / "cache"):
        before = prompter.sam.calls
        options = PromptOptions(cache=CacheOptions(cache))
        (found,) = prompt_scene(where, prompter, prompts_of(points=[(30, 25)]), options)
        return found, prompter.sam.calls - before

    return call


def test_a_second_prompt_and_a_new_process_look_no_more(fake, ask):
    first, looks = ask(fake.prompter())
    assert looks == 1
    second, looks = ask(fake.prompter())  # a new network: nothing is kept in memory
    assert looks == 0
    assert second.shape.equals(first.shape)
    assert (second.score, second.area_ha) == (first.score, first.area_ha)


def test_another_model_another_scene_or_another_time_looks_anew(fake, ask, source, tmp_path):
    assert ask(fake.prompter())[1] == 1
    assert ask(fake.prompter("other"))[1] == 1
    copy = str(tmp_path / "copy.tif")
    shutil.copy2(source, copy)
    assert ask(fake.prompter(), where=copy)[1] == 1
    status = os.stat(source)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000))
    assert ask(fake.prompter())[1] == 1


@pytest.mark.parametrize("change", ["pixels", "grid"])
def test_other_pixels_or_another_grid_under_an_old_time_count(fake, ask, source, change):
    ask(fake.prompter())
    status = os.stat(source)
    bright = fake.blob(rows=slice(10, 45)) if change == "pixels" else fake.blob()
    moved = fake.transform if change == "pixels" else fake.transform * fake.transform.scale(2)
    fake.scene(source, bright, transform=moved)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    found, looks = ask(fake.prompter())
    assert looks == 1
    assert int(found.mask.sum()) == bright.sum()


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:200])


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 0x10
    path.write_bytes(bytes(content))


def damage_other(path):
    path.write_bytes(b"no tensors at all, whatever its name says")


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_other])
def test_a_damaged_entry_is_computed_again_and_mended(fake, ask, tmp_path, caplog, damage):
    first, _ = ask(fake.prompter())
    (entry,) = (tmp_path / "cache").glob("*/*.safetensors")
    damage(entry)
    again, looks = ask(fake.prompter())
    assert looks == 1
    assert "damaged, computed again" in caplog.text
    assert again.shape.equals(first.shape)
    assert ask(fake.prompter())[1] == 0


def test_the_least_recently_used_go_first(tmp_path):
    cache = EmbeddingCache(tmp_path / "c", limit_bytes=5_600)
    tile = CachedTile(torch.zeros(4, 16, 16), np.ones((16, 16), dtype=bool))
    for number in range(2):
        cache.write("key", f"tile{number}", tile, facts={})
        path = tmp_path / "c" / "key" / f"tile{number}.safetensors"
        os.utime(path, ns=(number * 10**9, number * 10**9))
    assert cache.read("key", "tile0") is not None  # touched: tile1 is the oldest now
    cache.write("key", "tile2", tile, facts={})
    assert [cache.has("key", f"tile{number}") for number in range(3)] == [True, False, True]
    assert 0 < cache.size_bytes() <= 5_600


def test_a_cache_that_cannot_be_written_only_warns(fake, ask, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    found, looks = ask(fake.prompter(), cache=tmp_path / "file" / "cache")
    assert (looks, found.area_ha > 0) == (1, True)
    assert "embeddings are not kept" in caplog.text


def test_all_tiles_are_computed_once_and_taken_up_after_a_stop(fake, source, tmp_path):
    class StopError(Exception):
        pass

    class Bar:
        def __init__(self, stop_after):
            self.left, self.total = stop_after, 0

        def start(self, label, total):
            self.total = total

        def advance(self, n=1):
            self.left -= n
            if self.left == 0:
                raise StopError

        def finish(self):
            pass

    prompter, options = fake.prompter(), CacheOptions(tmp_path / "cache")
    bar = Bar(5)
    with SceneEmbeddings.open(source, prompter, cache=options) as first, pytest.raises(StopError):
        first.fill(progress=bar)
    assert prompter.sam.calls == 5
    with SceneEmbeddings.open(source, prompter, cache=options) as second:
        assert second.fill() == bar.total - 5 == len(list(second.tiles())) - 5
        assert second.fill() == 0
    with (
        SceneEmbeddings.open(source, prompter) as bare,
        pytest.raises(InputError, match="--all needs a cache"),
    ):
        bare.fill()
    tight = CacheOptions(tmp_path / "tight", limit_bytes=20_000)
    with (
        SceneEmbeddings.open(source, prompter, cache=tight) as small,
        pytest.raises(InputError, match=r"tiles found no room in it"),
    ):
        small.fill()


def test_tiles_cover_the_scene_and_hold_half_a_frame_anywhere(fake, source):
    with SceneEmbeddings.open(source, fake.prompter()) as embeddings:
        tiles = [tile.window for tile in embeddings.tiles()]
        assert embeddings.levels == 3
        assert embeddings.shape(2) == (38, 48)
        for x, y in ((0, 0), (70, 31), (158, 118), (97, 86)):
            assert any(
                t.col <= x and x + 32 <= t.col + 64 and t.row <= y and y + 32 <= t.row + 64
                for t in tiles
            )


def test_a_coarse_level_is_the_mean_of_what_has_data(fake, tmp_path):
    source = fake.scene(tmp_path / "s.tif", fake.blob(), nodata=[(slice(0, 8), slice(0, 7))])
    with SceneEmbeddings.open(source, fake.prompter()) as embeddings:
        fine = embeddings.scene.read(embeddings.tile(0, 0, 0).window)
        coarse = embeddings.read(embeddings.tile(2, 0, 0))
    assert np.isnan(coarse[:, :2, :1]).all()
    assert coarse[0, 0, 1] == pytest.approx(fine[0, 0, 7])  # the one column that has data
    assert coarse[0, 5, 7] == pytest.approx(fine[0, 20:24, 28:32].mean())
    assert np.isnan(coarse[:, 38:]).all()  # beyond the scene


def test_a_tile_without_data_is_not_shown_to_the_network(fake, tmp_path):
    source = fake.scene(tmp_path / "s.tif", fake.blob(), nodata=[(slice(60, 150), slice(0, 190))])
    prompter = fake.prompter()
    with SceneEmbeddings.open(source, prompter) as embeddings:
        empty = embeddings.at(embeddings.tile(0, 3, 1))
    assert (empty.embedding, empty.valid.any(), prompter.sam.calls) == (None, False, 0)
