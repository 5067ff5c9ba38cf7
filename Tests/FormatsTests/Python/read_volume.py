"""Reads a volume out of its packs, by docs/formats.md and with nothing of PerSSD's own code.

    read_volume.py ROOT.json PACK-FOLDER LINEAGE IMAGE [MOVED-FOLDER]

Every digest that the format has is checked on the way. Needs the zstd program; the standard library of Debian 12 has no
zstd module.
"""

import hashlib
import json
import os
import struct
import subprocess
import sys

LOCATOR = struct.Struct("<HBBIIII")
HEADER = struct.Struct("<8sHHI16s32s")
ENTRY = struct.Struct("<BBBBIQII32s")
FOOTER = struct.Struct("<QII32sHHI8s")
NODE = struct.Struct("<8sHBBBBHQII")
MOVED = struct.Struct("<8sHHI16s16s32s")
KINDS = {1: "block", 2: "map node", 3: "patch"}


def sha256(data):
    return hashlib.sha256(data).digest()


def check(condition, what):
    if not condition:
        sys.exit(f"not as documented: {what}")


class Packs:
    def __init__(self, folder, lineage, moved=None):
        self.bytes = {}
        self.kinds = {}
        self.moved = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as file:
                self.read(bytes.fromhex(name), file.read(), lineage)
        for name in os.listdir(moved) if moved else []:
            with open(os.path.join(moved, name), "rb") as file:
                self.read_moved(bytes.fromhex(name), file.read(), lineage)

    def read_moved(self, pack, data, lineage):
        magic, version, flags, count, own, into, of = MOVED.unpack(data[:80])
        check((magic, version, flags) == (b"PERSSDMV", 1, 0), "header of a table of moved pieces")
        check(own == pack and of == sha256(lineage.encode()), "pack id and lineage of a table of moved pieces")
        check(len(data) == 80 + 12 * count + 32 and sha256(data[:-32]) == data[-32:], "digest of moved pieces")
        pieces = list(struct.iter_unpack("<III", data[80:-32]))
        check(all(a[0] < b[0] for a, b in zip(pieces, pieces[1:])), "order of moved pieces")
        self.moved[pack] = (into, {old: (new, length) for old, new, length in pieces})

    def read(self, pack, data, lineage):
        magic, version, flags, length, own, of = HEADER.unpack(data[:64])
        check((magic, version, flags, length) == (b"PERSSDPK", 1, 0, 64), "pack header")
        check(own == pack and of == sha256(lineage.encode()), "pack id and lineage")
        at, length, count, digest, version, flags, reserved, magic = FOOTER.unpack(data[-64:])
        check((magic, version, flags, reserved) == (b"PERSSDPE", 1, 0, 0), "pack footer")
        check(at + length + 64 == len(data) and length == 56 * count, "place of the index")
        index = data[at : at + length]
        check(sha256(data[:64] + index) == digest, "digest of header and index")
        end = 64
        for entry in ENTRY.iter_unpack(index):
            kind, compression, cipher, flags, key, offset, stored, plain, digest = entry
            check((cipher, flags, key) == (0, 0, 0) and offset == end, "index entry")
            end = offset + stored
            self.kinds[pack, offset] = (KINDS[kind], compression, stored, plain, digest)
        check(end == at, "end of the pieces")
        self.bytes[pack] = data

    def piece(self, kind, pack, offset, stored, plain, compression, digest):
        while pack not in self.bytes:
            check(pack in self.moved, f"pack {pack.hex()}, which is there, or a table of its pieces")
            pack, pieces = self.moved[pack]
            check(pieces[offset][1] == stored, "length of a moved piece")
            offset = pieces[offset][0]
        check(self.kinds[pack, offset] == (kind, compression, stored, plain, digest), f"index line of a {kind}")
        data = self.bytes[pack][offset : offset + stored]
        if compression == 1:
            data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
        check(len(data) == plain and sha256(data) == digest, f"bytes of a {kind}")
        return data


class Map:
    def __init__(self, root, packs):
        self.root, self.packs = root, packs
        self.block_log2, self.fan_out_log2 = root["blockSizeLog2"], root["fanOutLog2"]
        self.block = 1 << self.block_log2
        self.volume = bytearray(root["capacityBytes"])

    def restore(self):
        root = self.root
        content = bytes(32)
        if "top" in root:
            top = root["top"]
            check(top["cipher"] == "none" and top["key"] == 0, "cipher of the top node")
            content, totals = self.node(
                root["levels"] - 1, 0, bytes.fromhex(top["pack"]), top["offset"], top["storedLength"],
                top["plainLength"], {"none": 0, "zstd": 1}[top["compression"]], bytes.fromhex(top["sha256"]))
            check(content.hex() == top["content"], "content digest of the top node")
            check(totals == [top["totals"][name] for name in ("blocks", "blockBytes", "mapBytes")], "totals")
        shape = struct.pack("<BBBBQ", 0x56, self.block_log2, self.fan_out_log2, root["levels"], root["capacityBytes"])
        check(sha256(shape + content).hex() == root["contentDigest"], "content digest of the volume")

    def node(self, level, index, *place):
        data = self.packs.piece("map node", *place)
        magic, version, own_level, fan_out, block, flags, tables, own_index, count, reserved = NODE.unpack(data[:32])
        check((magic, version, flags, reserved) == (b"PERSSDMN", 1, 0, 0), "node header")
        check((own_level, own_index) == (level, index), "place of a node")
        check((fan_out, block) == (self.fan_out_log2, self.block_log2), "shape of a node")
        table = [data[32 + 16 * i : 48 + 16 * i] for i in range(tables)]
        body = data[32 + 16 * tables :]
        entry = self.leaf_entry if level == 0 else self.inner_entry
        text = bytes([0x4C, self.block_log2]) if level == 0 else bytes([0x49, level])
        totals = [0, 0, place[2]]
        for _ in range(count):
            (slot,) = struct.unpack_from("<H", body)
            body, digest, below = entry(level, (index << self.fan_out_log2) + slot, body, table)
            text += struct.pack("<H", slot) + digest
            totals = [a + b for a, b in zip(totals, below)]
        check(not body, "end of a node")
        return sha256(text), totals

    @staticmethod
    def locator(body, table):
        pack, compression, cipher, key, offset, stored, plain = LOCATOR.unpack(body[:20])
        check((cipher, key) == (0, 0), "cipher of a piece")
        return body[20:], (table[pack], offset, stored, plain, compression)

    def inner_entry(self, level, child, body, table):
        check(body[2:4] == b"\0\0", "flags of an inner entry")
        body, place = self.locator(body[4:], table)
        digest, content = body[:32], body[32:64]
        totals = list(struct.unpack_from("<QQQ", body, 64))
        found, below = self.node(level - 1, child, *place, digest)
        check(found == content and below == totals, "content digest and totals of a child")
        return body[88:], content, totals

    def leaf_entry(self, level, number, body, table):
        kind, patches, digest = body[2], body[3], body[4:36]
        body, place = self.locator(body[36:], table)
        stored = place[2]
        if kind == 1:
            check(patches == 0, "whole block")
            block = self.packs.piece("block", *place, digest)
        else:
            check(kind == 2 and 1 <= patches <= 4, "patched block")
            block = bytearray(self.packs.piece("block", *place, body[:32]))
            body = body[32:]
            for _ in range(patches):
                body, place = self.locator(body, table)
                self.apply(self.packs.piece("patch", *place, body[:32]), block)
                body = body[32:]
                stored += place[2]
        check(len(block) == self.block and sha256(block) == digest, "digest of a block")
        start = number * self.block
        count = min(self.block, len(self.volume) - start)
        check(not any(block[count:]), "zeros past the end of the volume")
        self.volume[start : start + count] = block[:count]
        return body, digest, [1, stored, 0]

    def apply(self, patch, block):
        magic, version, block_log2, page_log2, flags = struct.unpack_from("<2sHBBH", patch)
        check((magic, version, block_log2, page_log2, flags) == (b"PP", 1, self.block_log2, 12, 0), "patch header")
        bitmap = patch[8 : 8 + self.block // 4096 // 8]
        pages = patch[8 + len(bitmap) :]
        for page in range(self.block // 4096):
            if bitmap[page // 8] >> (page % 8) & 1:
                block[page * 4096 : (page + 1) * 4096] = pages[:4096]
                pages = pages[4096:]
        check(not pages, "end of a patch")


def main():
    root_file, folder, lineage, image, *moved = sys.argv[1:]
    with open(root_file, encoding="utf-8") as file:
        root = json.load(file)
    check(root["version"] == 1, "version of the root")
    volume = Map(root, Packs(folder, lineage, *moved))
    volume.restore()
    with open(image, "wb") as file:
        file.write(volume.volume)


main()
