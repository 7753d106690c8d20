"""Memory that one call adds, measured in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import effdl_fast


def rise_in_a_process(module, prepare):
    """Bytes by which the function that `module.prepare()` returns raises the high water of a process."""
    code = (
        f"import importlib, torch; torch.set_num_threads(1); from effdl_fast.testing.peak_memory import rise_of; "
        f"print(rise_of(importlib.import_module({module!r}).{prepare}()))"
    )
    paths = [
        str(Path(effdl_fast.__file__).parents[1]),
        str(Path(__file__).parents[2]),
        os.environ.get("PYTHONPATH", ""),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)
