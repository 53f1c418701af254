"""Pickles: plain data comes back as numpy and torch wrote it, and nothing else does; nothing in them is ever run."""

import io
import os
import struct
import sys
import zipfile
import zlib
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import array, call, dtype, listed, many, mapping, name, number, pickled, raw, text

from protege.core.errors import UserError
from protege.sim.motions.readers import limits, torch_file
from protege.sim.motions.readers.document import open_document
from protege.sim.motions.readers.torch_file import read_torch
from protege.sim.motions.readers.unpickle import unpickle


def saved(value: object) -> bytes:
    """As numpy saves an object."""
    file = io.BytesIO()
    np.save(file, np.array(value, dtype=object))
    return file.getvalue()


def opened(contents: bytes) -> object:
    return open_document(contents, "walk.npy", "walk").data


# What comes back ---------------------------------------------------------------------------------------------------------


def test_what_numpy_writes_comes_back():
    value = {
        "f8": np.arange(6.0).reshape(2, 3), "f4": np.float32([1.5, -2.0]), "i8": np.array([3, 4]), "bool": np.array([True]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">f4"),
        "names": np.array(["a", "bc"]), "zero": np.array(30.0), "scalar": np.float64(29.97), "none": None, "deep": [(1, "x")],
        "ordered": OrderedDict(a=1), "text": "été", "bytes": b"\x00\xff", "int": -(2**70), "empty": np.zeros((0, 3)),
    }  # fmt: skip
    found = opened(saved(value))
    assert isinstance(found, dict) and list(found) == list(value)
    for key, wanted in value.items():
        if isinstance(wanted, np.ndarray):
            np.testing.assert_array_equal(found[key], wanted)
            assert found[key].shape == wanted.shape and found[key].dtype.isnative, key
        else:
            assert found[key] == wanted, key
    assert found["big"].dtype == np.float32 and type(found["ordered"]) is dict


def test_arrays_of_objects_are_lists_and_shared_objects_are_shared():
    rows = np.empty(2, dtype=object)
    rows[:] = [np.arange(2.0), "x"]
    found = opened(saved({"rows": rows, "again": rows}))
    np.testing.assert_array_equal(found["rows"][0], [0.0, 1.0])
    assert found["rows"][1] == "x" and len(found["again"]) == 2


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_names_of_old_and_new_numpy_are_the_same(module):
    contents = pickled(array((2, 1), "f8", raw(struct.pack("<2d", 1.0, 2.0)), module=module))
    np.testing.assert_array_equal(unpickle(contents, "a.pkl"), [[1.0], [2.0]])


def test_strings_of_python_2_are_bytes():
    """Protocol 2 wrote an array's bytes as text in latin-1, and turned them back with `_codecs.encode`."""
    data = struct.pack("<d", -1.1).decode("latin-1")
    contents = pickled(array((1,), "f8", call("_codecs", "encode", text(data), text("latin1"))))
    np.testing.assert_array_equal(unpickle(contents, "a.pkl"), [-1.1])


def joblib(values: np.ndarray) -> bytes:
    """A mapping with one array, as joblib writes it: the array's bytes follow its description, aligned."""
    state = mapping(subclass=name("numpy", "ndarray"), shape=many(*map(number, values.shape)), order=text("C"),
                    dtype=dtype("f8"), allow_mmap=b"\x88", numpy_array_alignment_bytes=number(16))  # fmt: skip
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b"
    return (
        b"\x80\x04}("
        + text("pose_aa")
        + wrapper
        + b"\x03\xff\xff\xff"
        + values.tobytes()
        + text("fps")
        + number(30)
        + b"u."
    )


def test_joblibs_arrays_are_read_also_compressed():
    values = np.arange(12.0).reshape(4, 3)
    for contents in (joblib(values), zlib.compress(joblib(values))):
        found = opened(contents)
        np.testing.assert_array_equal(found["pose_aa"], values)
        assert found["fps"] == 30


@settings(max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
                    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(), x, max_size=4), max_leaves=20))  # fmt: skip
def test_any_plain_data_comes_back(value):
    if not isinstance(value, list):  # numpy would make an array of it
        assert opened(saved({"a": value})) == {"a": value}


def test_what_torch_saves_comes_back():
    base = torch.arange(24.0)
    value = {
        "a": base.reshape(2, 3, 4), "part": base[4:10].reshape(2, 3), "turned": base.reshape(6, 4).T,
        "bool": torch.tensor([True, False]), "long": torch.tensor([3, 4]), "half": torch.tensor([1.5]).half(),
        "fps": 30, "files": ("a/b.motion",), "empty": torch.zeros(0),
    }  # fmt: skip
    file = io.BytesIO()
    torch.save(value, file)
    found = read_torch(file.getvalue(), "walk.motion")
    for key, wanted in value.items():
        if isinstance(wanted, torch.Tensor):
            np.testing.assert_array_equal(found[key], wanted.numpy())
        else:
            assert found[key] == wanted


# What is refused ---------------------------------------------------------------------------------------------------------

EVIL = {
    "os.system": call("os", "system", text("touch /tmp/protege_was_here")),
    "posix": call("posix", "system", text("touch /tmp/protege_was_here")),
    "eval": call("builtins", "eval", text("1+1")),
    "old eval": call("__builtin__", "eval", text("1+1")),
    "getattr chain": call("builtins", "getattr", name("os", "path"), text("join")),
    "import": call("builtins", "__import__", text("os")),
    "partial": call("functools", "partial", name("os", "system"), text("true")),
    "numpy's runner": call("numpy.testing._private.utils", "runstring", text("1"), b"}"),
    "numpy's loader": call("numpy", "load", text("/etc/passwd"), b"N", b"\x88"),
    "numpy's memory": call("numpy", "zeros", number(10**9)),
    "fromfile": call("numpy", "fromfile", text("/etc/passwd")),
    "reconstruct another class": call("numpy.core.multiarray", "_reconstruct", name("os", "system"), many(number(0)), raw(b"b")),
    "reduce of a reduced": name("os", "system") + b"\x85R",
    "torch loader": call("torch", "load", text("/etc/passwd")),
    "storage outside": many(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(1)) + b"Q",
    "state of a name": name("os", "environ") + many(text("x")) + b"b",
    "object of a class": name("subprocess", "Popen") + b")\x81",
    "instance": b"(" + text("touch /tmp/protege_was_here") + b"ios\nsystem\n",
    "OBJ": b"(" + name("os", "system") + text("true") + b"o",
    "extension": b"\x82\x01",
    "persistent name": b"Psomething\n",
    "records": call("numpy", "dtype", text("f8,O"), b"\x89", b"\x88"),
    "dtype of any size": call("numpy", "dtype", text("V1000000000"), b"\x89", b"\x88"),
    "a class as a dtype": call("numpy", "dtype", name("os", "environ"), b"\x89", b"\x88"),
    "array larger than its bytes": array((10**6, 10**6), "f8", raw(b"")),
    "array of a negative size": array((-1,), "f8", raw(b"")),
    "array of many axes": array((1,) * 40, "f8", raw(b"12345678")),
    "objects that are missing": array((3,), "O8", listed(number(1))),
    "list of itself": b"]q\x00h\x00a",
    "key that is a list": b"}(" + b"]" + number(1) + b"u",
}  # fmt: skip


@pytest.mark.parametrize("kind", EVIL)
def test_pickles_with_more_than_data_are_rejected_in_one_line(kind, tmp_path):
    mark = Path("/tmp/protege_was_here")
    assert not mark.exists()
    modules = set(sys.modules)
    with pytest.raises(
        UserError, match=r"^walk\.pkl (asks|uses|holds|refers|sets|has|is nested|is a damaged|unfolds)"
    ) as caught:
        unpickle(pickled(EVIL[kind]), "walk.pkl")
    assert "\n" not in str(caught.value) and caught.value.remedy and len(str(caught.value)) < 400
    assert not mark.exists() and not {"antigravity", "numpy.testing"} & (set(sys.modules) - modules)


def test_a_name_is_never_imported(tmp_path, monkeypatch):
    (tmp_path / "protege_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="asks Python to call 'protege_evil"):
        unpickle(pickled(call("protege_evil", "x")), "walk.pkl")
    assert unpickle(pickled(name("protege_evil", "x")), "walk.pkl") == "protege_evil.x"  # a name is a text
    assert os.listdir(tmp_path) == ["protege_evil.py"]


def test_memory_that_doubles_is_refused(monkeypatch):
    """Thirty lists, each of the one before twice: a thousand million values out of 300 bytes."""
    monkeypatch.setattr("protege.sim.motions.readers.unpickle.MAX_VALUES", 100_000)
    steps = b"".join(b"](" + bytes([0x68, i]) * 2 + b"e" + bytes([0x71, i + 1]) for i in range(30))
    with pytest.raises(UserError, match="unfolds to more than"):
        unpickle(pickled(text("lol"), b"q\x00", steps), "walk.pkl")


def test_repeated_requests_for_a_large_object_are_rejected(monkeypatch):
    monkeypatch.setattr("protege.sim.motions.readers.unpickle.MAX_BYTES", 1_000_000)
    large = text("a" * 300_000) + b"q\x00"
    again = b"0" + call("_codecs", "encode", b"h\x00", text("latin1"))
    with pytest.raises(UserError, match="asks for more than"):
        unpickle(pickled(large, again * 20), "walk.pkl")


def test_a_program_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("protege.sim.motions.readers.unpickle.MAX_INSTRUCTIONS", 1000)
    with pytest.raises(UserError, match="more than 1000 instructions"):
        unpickle(b"\x80\x02" + b"N0" * 2000 + b"N.", "walk.pkl")


@pytest.mark.parametrize("cut", [1, 3, 10, 40, 100, -3, -1])
def test_a_pickle_that_is_cut_short_is_damaged(cut):
    whole = pickled(mapping(fps=number(30), a=array((2,), "f8", raw(struct.pack("<2d", 1.0, 2.0)))))
    with pytest.raises(UserError, match=r"^walk\.pkl (is a damaged or truncated pickle|holds an array)"):
        unpickle(whole[:cut], "walk.pkl")


@settings(max_examples=300)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
def test_bytes_that_are_changed_are_read_or_refused(where, new):
    whole = bytearray(pickled(mapping(fps=number(30), a=array((2,), "f8", raw(struct.pack("<2d", 1.0, 2.0))))))
    at = where % len(whole)
    whole[at : at + len(new)] = new
    with suppress(UserError):
        unpickle(bytes(whole), "walk.pkl")


def torch_zip(pickle: bytes, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle)
        for key, contents in members.items():
            archive.writestr(f"a/data/{key}", contents)
    return file.getvalue()


def tensor(count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    storage = many(text("storage"), name("torch", "FloatStorage"), text("k"), text("cpu"), number(count)) + b"Q"
    sizes = (many(*map(number, x)) for x in (shape, stride))
    return call("torch._utils", "_rebuild_tensor_v2", storage, number(offset), *sizes, b"\x89", b"N")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (tensor(4, 0, (2, 3), (3, 1)), "larger than its memory"),
        (tensor(4, 3, (2,), (1,)), "larger than its memory"),
        (tensor(4, 0, (-2,), (1,)), "negative size"),
        (tensor(4, 0, (2,), (-1,)), "negative size"),
        (tensor(4, 0, (10**9,), (0,)), "repeats its memory"),
        (tensor(400, 0, (2,), (1,)), "cut short"),
        (call("os", "system", text("true")), "asks Python to call 'os.system'"),
    ],
)
def test_tensors_that_are_no_tensors_are_refused(made, message):
    with pytest.raises(UserError, match=message):
        read_torch(torch_zip(pickled(made), k=bytes(16)), "walk.motion")


def test_a_torch_file_that_unpacks_to_too_much_or_is_cut_is_refused(monkeypatch):
    whole = torch_zip(pickled(tensor(4, 0, (4,), (1,))), k=bytes(16))
    np.testing.assert_array_equal(read_torch(whole, "walk.motion"), np.zeros(4))
    for contents in (whole[: len(whole) // 2], torch_zip(pickled(tensor(4, 0, (4,), (1,))))):
        with pytest.raises(
            UserError, match=r"is a (torch file that is damaged or cut short|damaged or truncated pickle)"
        ):
            read_torch(contents, "walk.motion")
    monkeypatch.setattr(torch_file, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="larger than"):
        read_torch(whole, "walk.motion")
    assert limits.MAX_BYTES == 512 << 20
