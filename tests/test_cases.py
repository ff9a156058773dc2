"""Scripts that users' data were found to break, where the folder of them lies beside the repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CASES = ROOT.parent / "shared" / "cases"
FILES = sorted(path for path in CASES.glob("*") if path.suffix in (".py", ".sh"))


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason="the folder ../shared/cases is not there")
@pytest.mark.parametrize("case", FILES or [CASES], ids=lambda path: path.name)
def test_case(case, tmp_path):
    command = tmp_path / "polyvae"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m polyvae "$@"\n')
    command.chmod(0o755)
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    world = os.environ | {"POLYVAE": str(command), "PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(paths)}
    interpreter = sys.executable if case.suffix == ".py" else "bash"
    done = subprocess.run([interpreter, str(case)], env=world, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
