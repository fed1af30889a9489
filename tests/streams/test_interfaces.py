from __future__ import annotations

import inspect

import pytest
from tests.streams.scripted import ScriptedInput
from tests.streams.test_views import OwnBuffer

from moorings.foundation.closable import IClosable
from moorings.foundation.projection import Object
from moorings.streams import interfaces
from moorings.streams.data_reader import DataReader
from moorings.streams.data_writer import DataWriter
from moorings.streams.interfaces import (
    IContentTypeProvider,
    IDataReader,
    IDataWriter,
    IInputStream,
    IOutputStream,
    IRandomAccessStream,
    IRandomAccessStreamWithContentType,
)

ALL = [getattr(interfaces, name) for name in interfaces.__all__]


@pytest.mark.parametrize("interface", ALL)
def test_all_members_must_be_implemented(interface: type) -> None:
    assert issubclass(interface, Object)
    with pytest.raises(TypeError, match="abstract"):
        interface()


def test_inheritance() -> None:
    assert issubclass(IRandomAccessStream, IInputStream)
    assert issubclass(IRandomAccessStream, IOutputStream)
    assert issubclass(IRandomAccessStreamWithContentType, IRandomAccessStream)
    assert issubclass(IRandomAccessStreamWithContentType, IContentTypeProvider)
    closable = [interface for interface in ALL if issubclass(interface, IClosable)]
    assert closable == [
        interface for interface in ALL if "Stream" in interface.__name__ and "Ref" not in interface.__name__
    ]


@pytest.mark.parametrize(("interface", "kind"), [(IDataReader, DataReader), (IDataWriter, DataWriter)])
def test_the_classes_have_every_member_of_their_interface(interface: type, kind: type) -> None:
    for name in interface.__abstractmethods__:  # type: ignore[attr-defined]
        member = getattr(kind, name)
        wanted = getattr(interface, name)
        if isinstance(wanted, property):
            assert inspect.isdatadescriptor(member)
            with pytest.raises(AttributeError if wanted.fset is None else TypeError):
                setattr(kind.__new__(kind), name, "nothing that fits")
        else:
            assert list(inspect.signature(member).parameters) == list(inspect.signature(wanted).parameters)


def test_a_stream_in_python_is_a_context_manager() -> None:
    stream = ScriptedInput()
    with stream as inside:
        assert inside is stream
    assert stream.closed == 1
    assert stream.as_(IInputStream) is stream


def test_a_buffer_in_python_has_a_length() -> None:
    assert len(OwnBuffer()) == 2
