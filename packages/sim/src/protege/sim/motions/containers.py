"""Whether a file may contain motions in another format, by its first bytes. Fast, because core calls it for each clip."""

import re

from protege.core.motions.file_kinds import NPY

ZIP, ZLIB = b"PK\x03\x04", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
PICKLE, PROTOCOLS = 0x80, range(2, 6)
MIN_TABLE_COMMAS = 7
"""Least number of commas in a row of a table: the root's position and quaternion, and a joint."""
ROW_OF_NUMBERS = re.compile(rb"^[ \t]*(?:[-+.\deE]+[;\t ]+){7}[-+.\d]", re.MULTILINE)
"""A row of a table whose cells are separated by something other than commas."""
TABLE_HEADER = re.compile(rb"'descr': '[<>]f[48]'.*'shape': \(\d+, (?:[89]|\d{2,})\)")
"""Header of a numpy array that has rows of more than 7 numbers."""


def may_be_motion(first: bytes) -> bool:
    """Whether a file with these first `SNIFFED` bytes has a container of motion formats, and is not a clip of ours."""
    if first.startswith(NPY):
        return b"'descr': '|O'" in first[:400] or bool(TABLE_HEADER.search(first[:400]))
    if first.startswith((ZIP, *ZLIB)):
        return True
    if len(first) > 1 and first[0] == PICKLE and first[1] in PROTOCOLS:
        return True
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    rows = [row for row in text.split(b"\n") if not row.startswith(b"#")]
    is_table = (bool(rows) and rows[0].count(b",") >= MIN_TABLE_COMMAS) or bool(ROW_OF_NUMBERS.search(text))
    return text.startswith((b"HIERARCHY", b"{", b"\xff\xfe", b"\xfe\xff")) or is_table
