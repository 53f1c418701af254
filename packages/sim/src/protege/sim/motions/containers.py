"""Whether a file may hold motions of another format than ours, told from its first bytes. Light: core asks it of each clip."""

from protege.core.motions.file_kinds import NPY

ZIP, ZLIB = b"PK\x03\x04", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
PICKLE, PROTOCOLS = 0x80, range(2, 6)
MIN_TABLE_COMMAS = 7
"""Commas of a table's row, at least: the root's position and quaternion, and a joint."""


def may_be_motion(first: bytes) -> bool:
    """Whether a file that begins like this (`SNIFFED` bytes) has a container that motions come in, and is no clip of ours."""
    if first.startswith(NPY):
        return b"'descr': '|O'" in first[:400]
    if first.startswith((ZIP, *ZLIB)):
        return True
    if len(first) > 1 and first[0] == PICKLE and first[1] in PROTOCOLS:
        return True
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    is_table = text.split(b"\n")[0].count(b",") >= MIN_TABLE_COMMAS
    return text.startswith((b"HIERARCHY", b"{", b"\xff\xfe", b"\xfe\xff")) or is_table
