cimport cython

from moorings.engine.tcp_stream cimport TcpStream
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation
from moorings.sockets.connection cimport Connection, Lifeline
from moorings.sockets.socket_streams cimport SocketInputStream, SocketOutputStream

cdef class StreamParts:
    cdef public Operation _connect_operation
    cdef public Connection _connection
    cdef public object _control
    cdef public object _information
    cdef public SocketInputStream _input
    cdef public Lifeline _lifeline
    cdef public SocketOutputStream _output
    cdef public tuple _place

    @cython.locals(connection=Connection)
    cpdef _prepare(self, Connection connection, tuple place)
    cpdef _attach(self, TcpStream stream)
    @cython.locals(connection=Connection, stream=TcpStream)
    cpdef TcpStream _stream(self, str member)
    cpdef _first_input(self)
    cpdef _first_output(self)
    @cython.locals(connection=Connection, stream=TcpStream, operation=Operation)
    cpdef _end(self)
