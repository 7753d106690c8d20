"""Check that the wheel given holds device code for every architecture that it was built for.

The CUDA toolkit's cuobjdump would tell, but not every machine with nvcc has it; the container's headers are simple.
"""

import re
import struct
import sys
import zipfile

MAGIC = 0xBA55ED50  # then u16 version, u16 header size, u64 size of the entries
PTX, MACHINE_CODE = 1, 2


def entries(binary: bytes) -> set[tuple[int, int]]:
    """(kind, architecture) of each entry of each fat binary inside."""
    found = set()
    for match in re.finditer(re.escape(struct.pack("<I", MAGIC)), binary):
        _, _, header, size = struct.unpack_from("<IHHQ", binary, match.start())
        at = match.start() + header
        end = at + size
        while at + 32 <= min(end, len(binary)):
            kind, _, header, payload = struct.unpack_from("<HHIQ", binary, at)
            (architecture,) = struct.unpack_from("<I", binary, at + 28)
            if kind not in (PTX, MACHINE_CODE):
                break
            found.add((kind, architecture))
            at += header + payload
    return found


with zipfile.ZipFile(sys.argv[1]) as wheel:
    (name,) = (name for name in wheel.namelist() if re.match(r"effdl_fast/_C\..*so$", name))
    found = entries(wheel.read(name))
machine = sorted(a for kind, a in found if kind == MACHINE_CODE)
ptx = sorted(a for kind, a in found if kind == PTX)
print(f"{name}: machine code for sm {machine}, PTX for {ptx}")
if machine != [80, 90, 100, 120] or ptx != [120]:
    sys.exit("expected machine code for sm 80, 90, 100, 120 and PTX for 120")
