"""Print what the given extras of pyproject.toml need, one requirement a line: python tools/requirements.py build dev.

The name `build` stands for what builds the package; the package's own dependencies always come first. Thus a virtual
environment can hold all of it before the package itself is built.
"""

import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

# cmake and ninja: pip fetches them by itself where the machine lacks them, but not for a build without isolation.
# pip: the one that comes with Python 3.10 has no option -C.
BUILD_TOOLS = ["cmake>=3.25", "ninja>=1.11", "pip>=23.1"]

settings = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
groups = {
    **settings["project"]["optional-dependencies"],
    "build": [*settings["build-system"]["requires"], *BUILD_TOOLS],
}


def requirements(group: str) -> list[str]:
    """The lines of one group, with effdl-fast[a,b] replaced by what the extras a and b need."""
    if group not in groups:
        sys.exit(f"requirements.py: no extra named {group}; there are {', '.join(groups)}")
    lines = []
    for line in groups[group]:
        own = re.fullmatch(r"effdl-fast\[(.+)\]", line)
        lines += [x for extra in own[1].split(",") for x in requirements(extra.strip())] if own else [line]
    return lines


wanted = [*settings["project"]["dependencies"], *(line for name in sys.argv[1:] for line in requirements(name))]
print("\n".join(dict.fromkeys(wanted)))
