"""Every reason why a data folder cannot be used is a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ai_assistant
from ai_assistant.errors import ConfigurationError, NoSpaceError
from ai_assistant.standalone.data_folder import DataFolder


def test_folder_is_made_private_and_claimed_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    folder = DataFolder(path)
    assert path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigurationError, match=rf"Another ai-assistant \(pid {os.getpid()}\) already uses {path}"):
        DataFolder(path)
    folder.release()
    DataFolder(path).release()


def test_lock_of_a_killed_run_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1\n")
    DataFolder(tmp_path).release()


def test_missing_space_is_told_with_numbers(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.require_space(1, "Nothing")
    with pytest.raises(NoSpaceError, match=r"The first start needs 1000000000.0 GB of free space in .*there are "):
        folder.require_space(10**18, "The first start", tmp_path / "not" / "there")
    folder.release()


def test_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="AI_ASSISTANT_DATA_DIR"):
        DataFolder(tmp_path / "file" / "data")


CLAIM = """
import os, sys
from pathlib import Path
from ai_assistant.errors import ConfigurationError
from ai_assistant.standalone.data_folder import DataFolder
if os.geteuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    DataFolder(Path(sys.argv[1]))
except ConfigurationError as error:
    print(error.message)
"""


def test_missing_right_is_a_sentence(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    environment = os.environ | {"PYTHONPATH": str(Path(ai_assistant.__file__).parents[1])}
    command = [sys.executable, "-c", CLAIM, str(locked / "data")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "cannot be used" in result.stdout
    assert "permission denied" in result.stdout
