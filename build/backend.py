"""The build backend (PEP 517): maturin, and the promise that what is in a wheel needs no library.

Takes what pip asks; gives maturin's wheel under the tags that are true of it, or ends the build where a file in it has a
DT_NEEDED.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
import zipfile
from pathlib import Path

from maturin import *  # noqa: F403
from maturin import build_wheel as _build_wheel

# A program that needs no C library is of each of these.
TAGS = ("manylinux_2_17", "manylinux2014", "musllinux_1_2")


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """maturin's wheel, looked into."""
    name = _build_wheel(wheel_directory, config_settings, metadata_directory)
    return finish(Path(wheel_directory) / name).name


def finish(wheel: Path) -> Path:
    """Checks each ELF file of a wheel, and writes it anew with its tags."""
    with zipfile.ZipFile(wheel) as archive:
        files = {info: archive.read(info) for info in archive.infolist()}
    found = False
    for info, data in files.items():
        if data[:4] == b"\x7fELF":
            found = True
            names = needed(data)
            # The object stands in processes of glibc's, and asks for nothing by name.
            if names is None or names:
                raise SystemExit(f"`{info.filename}` of `{wheel.name}` needs {', '.join(names or ['a reader'])}: no library may be needed")
        if re.search(r"\.(pth|start)$", info.filename):
            raise SystemExit(f"`{info.filename}` of `{wheel.name}` would run at every start of Python")
    if not found:
        raise SystemExit(f"`{wheel.name}` has no program")
    machine = re.search(r"(x86_64|aarch64)\.whl$", wheel.name)
    if machine is None:
        return wheel
    return tagged(wheel, files, machine[1])


def needed(data: bytes) -> list[str] | None:
    """The DT_NEEDED entries of a 64-bit little-endian ELF file; None where it is none."""
    if data[4:6] != b"\x02\x01":
        return None
    table, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQQQ", data, table + at * size) for at in range(count)]
    dynamic = [segment for segment in segments if segment[0] == 2]
    if not dynamic:
        return []
    offset, length = dynamic[0][2], dynamic[0][5]
    entries = [struct.unpack_from("<QQ", data, at) for at in range(offset, offset + length, 16)]
    strings = next((value for tag, value in entries if tag == 5), 0)
    base = next((s[2] + strings - s[3] for s in segments if s[0] == 1 and s[3] <= strings < s[3] + s[5]), None)
    wanted = [value for tag, value in entries if tag == 1]
    if wanted and base is None:
        return None
    return [data[base + at : data.index(b"\0", base + at)].decode() for at in wanted]


def tagged(wheel: Path, files: dict[zipfile.ZipInfo, bytes], machine: str) -> Path:
    """The wheel under all platforms that it runs on; its RECORD is written anew."""
    platforms = [f"{tag}_{machine}" for tag in TAGS]
    name = re.sub(r"-py3-none-.*\.whl$", f"-py3-none-{'.'.join(platforms)}.whl", wheel.name)
    record = next(info for info in files if info.filename.endswith(".dist-info/RECORD"))
    for info in files:
        if info.filename.endswith(".dist-info/WHEEL"):
            lines = [line for line in files[info].decode().splitlines() if not line.startswith("Tag: ")]
            files[info] = ("\n".join(lines + [f"Tag: py3-none-{one}" for one in platforms]) + "\n").encode()
    rows = []
    for info, data in files.items():
        if info is not record and not info.is_dir():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{info.filename},sha256={digest},{len(data)}")
    files[record] = ("\n".join([*rows, f"{record.filename},,"]) + "\n").encode()
    fresh = wheel.with_name(name + ".part")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for info, data in files.items():
            kept = zipfile.ZipInfo(info.filename, info.date_time)
            kept.external_attr, kept.compress_type = info.external_attr, zipfile.ZIP_DEFLATED
            archive.writestr(kept, data)
    wheel.unlink()
    os.replace(fresh, wheel.with_name(name))
    return wheel.with_name(name)
