from compress import checkpoints
from compress.pruning.prune import Prune

CHAIN = (Prune(), Prune(ratio=0.25))


def test_a_pass_alone_has_the_file_itself_and_each_of_a_chain_its_own(tmp_path):
    path = tmp_path / "small.training.pt"
    assert checkpoints.of_passes(path, CHAIN[:1]) == [path]
    names = [found.name for found in checkpoints.of_passes(path, CHAIN)]
    assert names == ["small.1-prune.training.pt", "small.2-prune.training.pt"]


def test_each_round_has_a_checkpoint_of_its_own(tmp_path):
    names = [checkpoints.of_round(tmp_path / "net.pruned.training.pt", round).name for round in (0, 1, 12)]
    assert names == ["net.pruned.training.pt", "net.pruned.training.1.pt", "net.pruned.training.12.pt"]


def test_all_of_a_chain_and_of_its_rounds_go_and_nothing_else(tmp_path):
    path = tmp_path / "small.training.pt"
    written = [checkpoints.of_round(found, n) for found in checkpoints.of_passes(path, CHAIN) for n in (0, 1, 12)]
    kept = [tmp_path / "small.pt", tmp_path / "others.training.pt"]
    for file in [*written, *kept]:
        file.touch()
    checkpoints.remove(path, CHAIN)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
