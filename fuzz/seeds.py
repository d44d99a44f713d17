#!/usr/bin/env python3
"""Makes fuzz/seeds from real files, cut down to what the parsers read: `fuzz/seeds.py SITE-PACKAGES…`.

An ELF file keeps its headers and the tables of its dynamic segment, each at its own address, in a segment of its own;
a fat binary its headers, with payloads cut to nothing; a text its lines about libraries.
"""

import glob
import os
import re
import struct
import sys

SEEDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds")
# Small in their tables, and of different makers: CUDA 11 to 13, patchelf, gcc, stubs.
ELF = (
    "libcudart-*.so*", "libcudart.so.1[123]", "libcudnn.so.[89]", "libcaffe2_nvrtc.so", "libnvToolsExt.so.1",
    "libnvrtc-builtins.so.*", "libtorch_global_deps.so", "libtorch_cuda_linalg.so", "libcupti.so.1[23]",
)
ELF_LIMIT = 12_000
FATBIN = ("libnvjpeg.so.*", "libcurand.so.*", "libnccl.so.*")


def put(target, name, data):
    path = os.path.join(SEEDS, target, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def find(sites, patterns):
    for pattern in patterns:
        seen = set()
        for site in sites:
            for path in sorted(glob.glob(os.path.join(site, "**", pattern), recursive=True)):
                if os.path.basename(path) not in seen and os.path.isfile(path):
                    seen.add(os.path.basename(path))
                    yield path
                    break


class Elf:
    def __init__(self, path):
        self.file = open(path, "rb")
        self.header = self.at(0, 64)
        shoff = struct.unpack_from("<Q", self.header, 40)[0]
        count = struct.unpack_from("<H", self.header, 60)[0]
        raw = self.at(shoff, 64 * count)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", raw, 64 * i) for i in range(count)]
        names = self.sections[struct.unpack_from("<H", self.header, 62)[0]]
        self.names = self.at(names[4], names[5])

    def at(self, offset, size):
        self.file.seek(offset)
        return self.file.read(size)

    def name(self, section):
        return self.names[section[0] : self.names.index(b"\0", section[0])].decode()

    def named(self, *names):
        return [section for section in self.sections if self.name(section) in names]

    def cut_down(self):
        """PT_LOADs for the tables, PT_DYNAMIC, PT_NOTE, PT_GNU_STACK; no section headers."""
        tables = self.named(".hash", ".gnu.hash", ".dynsym", ".dynstr", ".gnu.version", ".gnu.version_d", ".gnu.version_r", ".dynamic")
        notes = [section for section in self.sections if section[1] == 7]
        headers, body = [], b""
        start = 64 + 56 * (len(tables) + len(notes) + 2)
        for section in tables + notes:
            body += b"\0" * (-len(body) % 8)
            offset, (address, size) = start + len(body), (section[3], section[5])
            body += self.at(section[4], size)
            if section in tables:
                headers.append((1, 4, offset, address, address, size, size, 8))
            if self.name(section) == ".dynamic":
                headers.append((2, 6, offset, address, address, size, size, 8))
            if section in notes:
                headers.append((4, 4, offset, address, address, size, size, section[8]))
        headers.append((0x6474E551, 6, 0, 0, 0, 0, 0, 16))
        header = bytearray(self.header)
        struct.pack_into("<QQ", header, 32, 64, 0)
        struct.pack_into("<HHHHH", header, 54, 56, len(headers), 64, 0, 0)
        return bytes(header) + b"".join(struct.pack("<IIQQQQQQ", *h) for h in headers) + body


def fat_binary(data):
    """The first regions, with payloads of no size."""
    out, at = b"", 0
    while at + 16 <= len(data) and len(out) < 3000:
        magic, version, head, size = struct.unpack_from("<IHHQ", data, at)
        if magic != 0xBA55ED50:
            at += 8
            continue
        entries, entry, end = b"", at + head, min(at + head + size, len(data))
        while entry + 64 <= end:
            length, payload = struct.unpack_from("<IQ", data, entry + 4)
            one = bytearray(data[entry : entry + length])
            struct.pack_into("<Q", one, 8, 0)
            entries += bytes(one)
            entry += length + payload
        out += struct.pack("<IHHQ", magic, version, head, len(entries)) + entries
        at = end
    return out


def cache(data):
    """The first entries of the new format, the second of them for x86-64-v2."""
    data = data[data.index(b"glibc-ld.so.cache1.1") :]
    text = lambda at: data[at : data.index(b"\0", at) + 1]
    count, strings, entries = 8, b"x86-64-v2\0", b""
    base = 48 + 24 * count
    for index in range(count):
        flags, key, value, version, hwcap = struct.unpack_from("<IIIIQ", data, 48 + 24 * index)
        hwcap = 1 << 62 if index == 1 else hwcap
        entries += struct.pack("<IIIIQ", flags, base + len(strings), base + len(strings) + len(text(key)), version, hwcap)
        strings += text(key) + text(value)
    at = base + len(strings) + -(base + len(strings)) % 4
    extension = struct.pack("<II4II", 0xEAA42174, 1, 1, 0, at + 24, 4, base)
    header = data[:20] + struct.pack("<III", count, len(strings), 2) + struct.pack("<I12x", at)
    return (header + entries + strings).ljust(at, b"\0") + extension


def lines(path, limit, wanted=lambda line: True):
    with open(path, "rb") as file:
        kept = [line for line in file.read(1 << 20).splitlines(keepends=True) if wanted(line)]
    return b"".join(kept)[:limit]


def main(sites):
    for path in find(sites, ELF):
        elf, name = Elf(path), os.path.basename(path)
        cut = elf.cut_down()
        if len(cut) <= ELF_LIMIT:
            put("elf", name, cut)
        for section in elf.sections:
            if section[1] == 7:
                put("notes", name + elf.name(section), bytes([0 if section[8] == 4 else 1]) + elf.at(section[4], section[5]))
    for path in find(sites, FATBIN):
        elf = Elf(path)
        for section in elf.named(".nv_fatbin", "__nv_relfatbin"):
            put("fatbin", os.path.basename(path) + elf.name(section), fat_binary(elf.at(section[4], min(section[5], 1 << 26))))
    for site in sites:
        for path in glob.glob(os.path.join(site, "nvidia_cuda_runtime*.dist-info")) + glob.glob(os.path.join(site, "torch-*.dist-info")):
            name = os.path.basename(path).removesuffix(".dist-info")
            put("record", name, lines(os.path.join(path, "RECORD"), 2000, lambda line: b".so" in line or b"dist-info" in line))
            head = lines(os.path.join(path, "METADATA"), 3000, lambda line: re.match(rb"(Name|Version|Requires-Dist|Summary):", line))
            put("metadata", name, name.encode() + b"\0" + head + b"\n")
    if os.path.exists("/etc/ld.so.cache"):
        put("ld_so_cache", "debian", cache(open("/etc/ld.so.cache", "rb").read()))
    conf = sorted(glob.glob("/etc/ld.so.conf.d/*.conf"))[:2]
    put("ld_so_conf", "debian", b"\0".join(lines(path, 500) for path in ["/etc/ld.so.conf", *conf]))
    with open("/var/lib/dpkg/status") as file:
        stanza = file.read().split("\n\n")[0]
    stanza = re.sub(r"(?m)^Package: .*$", "Package: libcudart12", stanza)[:1500]
    stanza = re.sub(r"(?m)^Version: .*$", "Version: 12.2.140~12.2.2-1", stanza)
    listed = "/.\n/usr\n/usr/lib\n/usr/lib/x/libcudart.so.12\n"
    sums = "5d41402abc4b2a76b9719d911017c592  usr/lib/x/libcudart.so.12\n"
    put("dpkg", "libcudart12", "\0".join([stanza, listed, sums]).encode())
    # What libraries, pip and conda write as versions, and users as SPECs.
    for number, text in enumerate(["2.5.1+cu124", "2.5", ">=2.4", "cu124", "auto", "<=2.8.0+cu128", "2.15.0+cpu"]):
        put("spec", str(number), text.encode())
    put("version", "pins", b"12.4.5.8\n>=12.8,<13.2\n450.80.02\n9.10.0.*\n==9.10.0.*\n2.5.1+cu124\n11.8.89.post1\n12.6.0rc1\n")
    put("version", "names", b"libcudart-e409450e.so.11.0\nlibnvrtc-builtins.so.12.4\nlibcuda.so.580.82.07\nnvshmem_bootstrap_uid.so.3\n")
    for number, text in enumerate(["#!/bin/python3 -s\n", "#! /bin/env -S A=1 python3 -E\n", "#!/bin/env python3\n", "\x7fELF"]):
        put("command", str(number), text.encode("latin-1"))
    texts = os.path.join(os.path.dirname(SEEDS), "..", "tests", "doctor", "messages")
    for name in ("nvjitlink-older-wins", "cudnn9-sublib-not-found", "cudnn8-mixed-sublibs", "major-symlink-hack", "ext-torch-abi", "near-misses"):
        put("message", name, open(os.path.join(texts, name + ".txt"), "rb").read().split(b"\n", 1)[1])
    put("message", "german", "\x1b[1;31mImportError\x1b[0m: x: libcudart.so.12: Kann die Shared-Object-Datei nicht öffnen\r\n 10%|█ \r".encode())
    put("lines", "stamps", b"-\t/a b\\tc\\n\n1:2 3 -4\t/d\\x80\n")
    put("conda_meta", "cuda-cudart", CONDA)
    put("plan", "torch", PLAN)


CONDA = b"""{"build": "0", "name": "cuda-cudart", "version": "12.4.127", "files": ["lib/libcudart.so.12"],
"paths_data": {"paths_version": 1, "paths": [{"_path": "lib/libcudart.so.12", "path_type": "hardlink",
"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "size_in_bytes": 5}]}}"""

PLAN = b"""cudashim-plan\t1
for\ttorch\ttorch 2.5.1+cu124\t/v/torch
program\t/v/bin/python
object\t/v/torch/_C\\x01.so
lib\tlibnvrtc.so.12\t/o/a b\\t/libnvrtc.so.12\t66306:42\t1\t-5\tbuild-id:00ff\t12.4.127\tredirect
lib\tlibgomp.so.1\t/o/libgomp\\xff.so.1\t1:2\t18446744073709551615\t9223372036854775807\tsha256:0a\t-\tkeep
lib\tlibcublas.so.12\t/o/libcublas.so.12\t1:3\t4\t5\t-\t-\tpreload
alias\tlibnvrtc.so\tlibnvrtc.so.12
replace\t/x/libnvrtc.so.12\tlibnvrtc.so.12
later\tkind\\\\
end\t10
"""

if __name__ == "__main__":
    main(sys.argv[1:])
