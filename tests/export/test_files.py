import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.files import check_output, whole, whole_folder
from models.errors import CompressError, UsageError


def test_the_file_appears_when_the_block_ends_well(tmp_path: Path):
    target = tmp_path / "model.onnx"
    with whole(target) as part:
        part.write_bytes(b"weights")
        assert part.parent == tmp_path and part.suffix == ".onnx"
        assert not target.exists()
    assert target.read_bytes() == b"weights"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_new_file_has_the_mode_the_umask_gives_and_an_old_one_keeps_its_own(tmp_path: Path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with whole(tmp_path / "new") as part:
        part.unlink()  # as safetensors does, which makes its file anew and for its owner alone
        part.touch(mode=0o600)
    assert (tmp_path / "new").stat().st_mode == plain.stat().st_mode
    plain.chmod(0o600)
    with whole(plain) as part:
        part.write_bytes(b"x")
    assert plain.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("failure", [ValueError("broken"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: BaseException):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"old")
    with pytest.raises(type(failure)), whole(target) as part:
        part.write_bytes(b"half")
        raise failure
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_blocks_can_be_nested(tmp_path: Path):
    with whole(tmp_path / "a.npz") as outer, whole(outer) as inner:
        inner.write_bytes(b"x")
    assert (tmp_path / "a.npz").read_bytes() == b"x"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_a_symbolic_link_is_written_through(tmp_path: Path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole(tmp_path / "link") as part:
        part.write_bytes(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_the_input_is_never_the_output(tmp_path: Path):
    source = tmp_path / "model.onnx"
    source.write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to(source)
    for spelling in (source, tmp_path / "." / "model.onnx", tmp_path / "link.onnx"):
        with pytest.raises(UsageError, match="is the input"):
            check_output(spelling, not_the_same_as=[source])


def test_a_missing_folder_is_named_with_the_way_out(tmp_path: Path):
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere.*mkdir -p"):
        check_output(tmp_path / "nowhere" / "model.onnx")


def test_folders_and_devices_are_not_replaced(tmp_path: Path):
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path)
    with pytest.raises(UsageError, match="no ordinary file"):
        check_output("/dev/full")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path):
    # a limit on file sizes fails in write(2) just as a full disk does, and needs no mount
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(CompressError, match="the disk is full"), whole(tmp_path / "model.onnx") as part:
            part.write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_yours_is_named(tmp_path: Path):
    with pytest.raises(CompressError, match="not yours to write"), whole(tmp_path / "model.onnx") as part:
        raise PermissionError(13, "Permission denied", str(part))
    assert os.listdir(tmp_path) == []


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that whoever runs the test may read and not write; root, who may write anything, is nobody meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "out").mkdir()
        for place, mode in ((Path(folder) / "out", 0o555), (Path(folder), 0o755)):
            place.chmod(mode)
        me = os.geteuid()
        if me == 0:
            os.seteuid(65534)
        try:
            yield Path(folder) / "out"
        finally:
            os.seteuid(me)
            (Path(folder) / "out").chmod(0o755)


def test_that_a_folder_is_not_yours_is_known_before_anything_is_computed(locked: Path):
    with pytest.raises(CompressError, match=r"out/model\.onnx' cannot be written: the folder .*not yours to write"):
        check_output(locked / "model.onnx")
    with pytest.raises(CompressError, match=r"not yours to write"), whole_folder(locked):
        pytest.fail("it was entered")  # what the block makes would be lost


READ_ONLY = """
import sys
import compress
from export.files import check_output, whole, whole_folder
from models.errors import CompressError

def written(writer, name):
    with writer(name):
        pass

for call in (
    lambda: check_output("disk/model.onnx"),
    lambda: written(whole, "disk/model.onnx"),
    lambda: written(whole_folder, "disk/out"),
    lambda: written(whole_folder, "disk/old"),
):
    try:
        call()
    except CompressError as error:
        print(error)
"""


def test_a_read_only_disk_is_one_sentence(tmp_path: Path):
    """A real one, mounted where nobody else sees it."""
    (tmp_path / "disk").mkdir()
    mount = "mount -t tmpfs none disk && mkdir disk/old && mount -o remount,ro disk"
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh"]
    try:
        subprocess.run([*alone, "true"], cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nobody may mount a disk here")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    line = [*alone, sys.executable, "-c", READ_ONLY]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert len(said) == 4, done.stderr
    assert all("cannot be written: its disk is read-only. Name another with -o." in line for line in said)


def test_a_file_that_cannot_be_taken_away_does_not_hide_why(tmp_path: Path):
    with pytest.raises(CompressError, match="its disk is read-only"), whole(tmp_path / "model.onnx") as part:
        part.unlink()
        part.mkdir()  # no unlink(2) takes this
        raise OSError(errno.EROFS, "Read-only file system", str(part))


def test_a_name_that_is_too_long_is_known_before_anything_is_computed(tmp_path: Path):
    target = tmp_path / f"{'a' * 300}.onnx"
    for call in (
        lambda: check_output(target),
        lambda: whole(target).__enter__(),
        lambda: whole_folder(target).__enter__(),
    ):
        with pytest.raises(UsageError, match=r"the name is too long\. Name a shorter one"):
            call()
    assert os.listdir(tmp_path) == []


def test_a_name_that_just_fits_is_written(tmp_path: Path):
    longest = tmp_path / f"{'音' * 83}.onnx"  # three bytes each: 254 of the 255 that most disks allow
    with whole(longest) as part:
        part.write_bytes(b"x")
    with whole_folder(tmp_path / ("音" * 85)) as folder:
        (folder / "ledger.json").write_text("{}")
    assert {path.name for path in tmp_path.rglob("*")} == {longest.name, "音" * 85, "ledger.json"}


def test_a_check_leaves_nothing(tmp_path: Path):
    check_output(tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []


def test_somebody_elses_permission_error_is_not_ours(tmp_path: Path):
    with pytest.raises(PermissionError), whole(tmp_path / "model.onnx"):
        raise PermissionError(13, "Permission denied", "/elsewhere/file")


def test_a_folder_is_filled_at_the_end_and_keeps_what_was_in_it(tmp_path: Path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    (target / "ledger.json").write_text("old")
    with whole_folder(target) as part:
        (part / "ledger.json").write_text("new")
        (part / "models").mkdir()
        (part / "models" / "a.onnx").write_bytes(b"x")
        assert (target / "ledger.json").read_text() == "old"
    assert {p.name for p in target.rglob("*")} == {"notes.txt", "ledger.json", "models", "a.onnx"}
    assert (target / "ledger.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_that_failed_was_never_there(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as part:
        (part / "ledger.json").write_text("{}")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_folder_never_replaces_an_input(tmp_path: Path):
    source = tmp_path / "out" / "model.onnx"
    source.parent.mkdir()
    source.write_bytes(b"old")
    with (
        pytest.raises(UsageError, match="is the input"),
        whole_folder(source.parent, not_the_same_as=[source]) as part,
    ):
        (part / "model.onnx").write_bytes(b"new")
    assert source.read_bytes() == b"old"


def test_ctrl_c_in_a_process_of_its_own_leaves_nothing(tmp_path: Path):
    script = (
        "import compress, sys, time\n"
        "from export.files import whole\n"
        f"with whole({str(tmp_path / 'model.onnx')!r}) as part:\n"
        "    part.write_bytes(b'half'); print('writing', flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "writing\n"
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode != 0
    assert os.listdir(tmp_path) == []
