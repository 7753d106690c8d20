"""Say in one line each what this machine lacks to build effdl_fast; exit with 1 if anything is missing."""

import os
import shutil
import sys
import sysconfig


def missing() -> list[str]:
    """One line per missing thing, with its usual remedy."""
    lines = []
    if sys.version_info < (3, 10):  # noqa: UP036  (it is what this script is for)
        version = ".".join(map(str, sys.version_info[:3]))
        return [f"Python >= 3.10; {sys.executable} is {version}. Name another one: make PYTHON=python3.12 ..."]
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        lines.append("the venv module of Python (Debian, Ubuntu: apt install python3-venv)")
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        lines.append("Python.h (Debian, Ubuntu: apt install python3-dev; Fedora: dnf install python3-devel)")
    compiler = os.environ.get("CXX", "").split()[:1] or ["c++", "g++", "clang++"]
    if not any(shutil.which(name) for name in compiler):
        lines.append(f"a C++17 compiler ({', '.join(compiler)} not found; Debian, Ubuntu: apt install g++)")
    return lines


if __name__ == "__main__":
    for line in missing():
        print(f"missing: {line}", file=sys.stderr)
    sys.exit(1 if missing() else 0)
