"""The results folder: documents whole or not at all, one podium at a time, and damage called by its name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from podium_contract.trial import Trial
from podium_operator.core.ports import BackendError
from podium_operator.local.folder import ResultsFolder, read_document, write_document


def test_document_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "state" / "a.json"
    write_document(path, {"x": [1, "é"]})
    assert read_document(path) == {"x": [1, "é"]}
    assert list(path.parent.iterdir()) == [path], "nothing temporary stays"


def test_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_document(path, {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_document(path, {"x": float("nan")})
    path.with_name(".a.json.part").mkdir()  # a disk that refuses, for root as well
    with pytest.raises(BackendError, match=r"cannot write .*a\.json: Is a directory; it must be a folder"):
        write_document(path, {"x": 2})
    assert read_document(path) == {"x": 1}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"metadata": 1}', "[" * 100_000, "\udcff"])
def test_damaged_record_is_named_with_the_remedy(tmp_path: Path, text: str) -> None:
    folder = ResultsFolder(tmp_path)
    path = folder.trial(1)
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BackendError, match=rf"{path} is damaged .*; restore it, or start afresh") as damage:
        list(folder.records("trials", Trial.model_validate))
    assert "\n" not in str(damage.value)


def test_file_that_a_crash_left_half_written_is_no_record(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    write_document(folder.trial(1), {"a": 1})
    folder.trial(2).with_name(".00002.json.part").write_text("{", encoding="utf-8")
    assert list(folder.documents("trials")) == [{"a": 1}]


def test_second_podium_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from podium_operator.local.folder import ResultsFolder\n"
        f"folder = ResultsFolder(Path({json.dumps(str(tmp_path))})); folder.lock()\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(BackendError, match=rf"another podium run \(process {holder.pid}\) works in"):
            ResultsFolder(tmp_path).lock()
        holder.kill()
    mine = ResultsFolder(tmp_path)
    mine.lock()
    mine.unlock()


def test_lock_is_free_again_once_it_was_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        folder = ResultsFolder(tmp_path)
        folder.lock()
        folder.unlock()


def test_place_where_no_folder_can_be_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match=r"cannot write to .*: Not a directory"):
        ResultsFolder(tmp_path / "file" / "results").lock()
