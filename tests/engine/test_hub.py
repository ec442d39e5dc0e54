import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

from headframe.core.errors import BundleError, JobError, UnknownNameError
from headframe.engine import bundle as bundles
from headframe.engine.bundle import find_bundle, load_bundle, push_bundle


class Hub:
    """What the hub's client would be asked, and repositories as folders."""

    def __init__(self, root):
        self.root, self.made, self.failure = root, [], None

    def __call__(self, library_name):
        assert library_name == "headframe"
        return self

    def create_repo(self, repo, *, private, exist_ok):
        if self.failure:
            raise self.failure
        assert exist_ok
        self.made.append((repo, private))
        return f"https://hub.example/{repo}"

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        assert commit_message
        target = self.root / repo_id
        target.mkdir(parents=True, exist_ok=True)
        for name in allow_patterns:
            (target / name).write_bytes((folder_path / name).read_bytes())

    def snapshot_download(self, repo, *, allow_patterns):
        if self.failure:
            raise self.failure
        assert set(allow_patterns) == set(bundles.FILES)
        return str(self.root / repo)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", made)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def test_what_was_pushed_is_what_loads(hub):
    assert push_bundle("tailings-s2-rgb", "hf://office/pits", private=True) == (
        "https://hub.example/office/pits"
    )
    assert hub.made == [("office/pits", True)]
    assert sorted(p.name for p in (hub.root / "office/pits").iterdir()) == sorted(bundles.FILES)
    assert load_bundle("hf://office/pits").fingerprint == load_bundle("tailings-s2-rgb").fingerprint


def test_the_card_starts_with_what_the_hub_reads(hub):
    push_bundle("tailings-s2-rgb", "office/pits")
    card = (hub.root / "office/pits" / bundles.CARD).read_text()
    assert card.startswith("---\nlibrary_name: headframe\nlicense: cc-by-4.0\n")


def test_nothing_broken_is_published(hub, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in bundles.FILES:
        (folder / name).write_bytes((find_bundle("tailings-s2-rgb") / name).read_bytes()[:99])
    with pytest.raises(BundleError, match="broken"):
        push_bundle(folder, "hf://office/pits")
    assert hub.made == []


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (LocalTokenNotFoundError("no token"), JobError, "hf auth login"),
        (HFValidationError("bad"), UnknownNameError, "write hf://owner/name"),
        (OSError("no route to host"), JobError, r"cannot be written \(no route to host\)"),
    ],
)
def test_a_hub_that_refuses(hub, failure, error, message):
    hub.failure = failure
    with pytest.raises(error, match=message):
        push_bundle("tailings-s2-rgb", "hf://office/pits")


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (HFValidationError("bad"), UnknownNameError, "write hf://owner/name"),
        (OSError(), JobError, r"cannot be fetched \(OSError\)"),
    ],
)
def test_a_bundle_that_cannot_be_fetched(hub, failure, error, message):
    hub.failure = failure
    with pytest.raises(error, match=message):
        find_bundle("hf://office/pits")
