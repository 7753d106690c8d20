"""Print what the given extras of pyproject.toml need, one requirement a line: python tools/requirements.py dev demo.

The name `build` stands for the build requirements, and the package's own dependencies always come first. Thus a virtual
environment can hold all of it before the package itself is built.
"""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

settings = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
groups = {**settings["project"]["optional-dependencies"], "build": settings["build-system"]["requires"]}
unknown = [name for name in sys.argv[1:] if name not in groups]
if unknown:
    sys.exit(f"requirements.py: no extra named {', '.join(unknown)}; there are {', '.join(groups)}")
wanted = [*settings["project"]["dependencies"], *(line for name in sys.argv[1:] for line in groups[name])]
print("\n".join(dict.fromkeys(wanted)))
