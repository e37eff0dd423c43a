"""How the tests are shared out: a file to one process, for what it sets up is set up once."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("tests/test_dtypes.py", "tests/test_placing.py", "tests/test_media.py")


def test_each_file_runs_in_one_process():
    """Under the option that make gives, and as pytest says itself which process ran what."""
    (option,) = re.findall(r"^PYTEST = .*(--dist \w+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = [sys.executable, "-m", "pytest", "-n", "2", *option.split(), "-v", "-p", "no:cacheprovider", *FILES]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    processes = defaultdict(set)
    for process, file in re.findall(r"^\[(gw\d)\].* PASSED (\S+?)::", said, re.MULTILINE):
        processes[file].add(process)
    assert set(processes) == set(FILES)
    assert all(len(own) == 1 for own in processes.values())
    assert len(set.union(*processes.values())) == 2
