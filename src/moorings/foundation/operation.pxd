cimport cython

from moorings._native cimport is_task_callback, thread_ident
from moorings.foundation.home cimport Home

cdef int _STARTED, _COMPLETED, _CANCELED, _ERROR
cdef int _QUEUED

cdef class OperationOwner:
    cdef object __weakref__
    cdef public Operation spare
    cpdef prepare_wait(self, Operation operation)
    cpdef cancel_operation(self, Operation operation, bint by_task, object message)

cdef class Operation:
    cdef object __weakref__
    cdef public Home home
    cdef public OperationOwner owner
    cdef public int kind
    cdef public int state
    cdef public int options
    cdef public bint bare
    cdef public bint blocking
    cdef public bint closed
    cdef public bint face
    cdef public bint task_waits
    cdef public bint error_seen
    cdef public unsigned int identity
    cdef public object result_value
    cdef public object error
    cdef public object callback
    cdef public object context
    cdef public object more_callbacks
    cdef public object completed_handler
    cdef public object progress_handler
    cdef public object hook
    cdef public object event
    cdef public object buffer
    cdef public object subject
    cdef public Py_ssize_t count
    cdef public Py_ssize_t done_bytes
    cdef public Py_ssize_t overhead
    cdef public Operation next_operation

    @cython.locals(owner=OperationOwner)
    cpdef reuse(self)
    cpdef bint settle(self, int state, object result, object error)
    cpdef finish(self, int state, object result, object error)
    cpdef report_progress(self, object value)
