"""The spool: whole lines, torn lines, full disks, rotation, and locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.delivery.spool import SpoolError, SpoolWriter, encode_line, read_lines

ANY_JSON = st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_JSON, max_size=6))
def test_what_was_written_is_read(events: list[dict[str, object]]) -> None:
    content = read_lines(b"".join(map(encode_line, events)))
    assert list(content.events) == events
    assert (content.damaged, content.has_torn_end) == ((), False)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY_JSON, min_size=1, max_size=4), st.data())
def test_cut_anywhere_the_whole_lines_before_are_read_and_no_other(
    events: list[dict[str, object]], data: st.DataObject
) -> None:
    lines = b"".join(map(encode_line, events))
    cut = data.draw(st.integers(0, len(lines)))
    whole = lines[:cut].count(b"\n")
    content = read_lines(lines[:cut])
    assert list(content.events) == events[:whole]
    assert content.damaged == ()
    assert content.has_torn_end == (cut > content.whole_bytes)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_in_the_middle_is_found(data: st.DataObject) -> None:
    first = encode_line({"a": 1, "b": "two"})
    place = data.draw(st.integers(0, len(first) - 2))
    changed = bytearray(first)
    changed[place] ^= data.draw(st.integers(1, 127))
    content = read_lines(bytes(changed) + encode_line({"c": 3}))
    assert {"c": 3} in content.events or content.damaged
    assert {"a": 1, "b": "two"} not in content.events


def test_an_event_is_with_the_operating_system_before_append_returns(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from segmentation_assets.delivery.spool import SpoolWriter\n"
        "writer = SpoolWriter(Path(sys.argv[1]))\n"
        "writer.append([{'n': 1}, {'n': 2}])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    (path,) = tmp_path.glob("*.jsonl")
    assert [event["n"] for event in read_lines(path.read_bytes()).events] == [1, 2]
    assert path.stat().st_mode & 0o077 == 0


def test_a_file_is_rotated_by_size_and_no_line_is_split(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, rotate_bytes=500)
    for number in range(100):
        writer.append([{"n": number}])
    writer.close()
    files = list(tmp_path.glob("*.jsonl"))
    assert len(files) > 5
    found = [event["n"] for path in files for event in read_lines(path.read_bytes()).events]
    assert sorted(found) == list(range(100))


def test_threads_never_mix_their_lines(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, rotate_bytes=5_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: writer.append([{"n": number, "pad": "x" * 50}]), range(500)))
    writer.close()
    contents = [read_lines(path.read_bytes()) for path in tmp_path.glob("*.jsonl")]
    assert sorted(event["n"] for content in contents for event in content.events) == list(range(500))
    assert not any(content.damaged or content.has_torn_end for content in contents)


def test_a_full_disk_keeps_none_of_a_batch_and_what_follows_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append([{"n": 1}])
    real, calls = os.write, []

    def short_then_full(file: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data[:20])

    monkeypatch.setattr(os, "write", short_then_full)
    with pytest.raises(SpoolError) as refused:
        writer.append([{"n": 2}, {"n": 3}])
    assert str(refused.value) == (
        "An event could not be kept, because HOME/spool cannot be written (No space left on device). "
        "Make room on the disk, or mend the folder's rights; the sender of the event is told to try again."
    )
    monkeypatch.undo()
    writer.append([{"n": 4}])
    writer.close()
    (path,) = tmp_path.glob("*.jsonl")
    content = read_lines(path.read_bytes())
    assert [event["n"] for event in content.events] == [1, 4]
    assert content.damaged == ()


def test_half_a_line_that_cannot_be_taken_back_is_told_as_damaged_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path)
    real, calls = os.write, []

    def failing(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def short_then_failing(file: int, data: bytes) -> int:
        calls.append(data)
        return real(file, data[:20]) if len(calls) == 1 else failing()

    monkeypatch.setattr(os, "write", short_then_failing)
    monkeypatch.setattr(os, "ftruncate", failing)
    with pytest.raises(SpoolError):
        writer.append([{"n": 1}])
    monkeypatch.undo()
    writer.append([{"n": 2}])
    writer.close()
    (path,) = tmp_path.glob("*.jsonl")
    content = read_lines(path.read_bytes())
    assert ([event["n"] for event in content.events], content.damaged) == ([2], (1,))


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolError, match=r"HOME/spool cannot be written \(File exists\)"):
        SpoolWriter(tmp_path / "spool")


def test_closing_twice_is_the_same_as_once(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.close()
    writer.close()
