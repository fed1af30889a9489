from moorings._native cimport run_task_callback, thread_ident

cdef int _IMMEDIATE_LIMIT
cdef Py_ssize_t _TURN_BYTES_LIMIT

cdef class Home:
    cdef object __weakref__
    cdef public object loop
    cdef public unsigned long thread_id
    cdef public bint background
    cdef public object engine
    cdef public bint dropped
    cdef public bint eager
    cdef public bint in_callback
    cdef public int immediate
    cdef public Py_ssize_t turn_bytes
    cdef public object next_callback
    cdef public object next_context
    cdef public object next_argument
    cdef public object done_future
    cdef public object fast_get_loop
    cdef public object fast_add
    cdef public object adding
    cdef public object tasks

    cpdef bint on_home_thread(self)
    cpdef bint has_budget(self)
    cpdef new_turn(self)
    cpdef resume(self)
    cpdef schedule(self, object callback, object argument, object context)
