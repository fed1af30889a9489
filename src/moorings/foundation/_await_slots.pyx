# cython: language_level=3
"""Faster slots for `Operation`: awaiting without exceptions built in compiled code, and cheap future attributes.

Only an accelerator: `operation.py` has the same behaviour in Python. What it saves:

* an exception raised inside a compiled `__next__` builds a traceback, with a code object and a frame, each time; here
  the iterator sets `StopIteration` (or nothing at all for None) and returns NULL itself;
* the marker attribute of asyncio's future protocol, which must not exist on the class, is answered before the generic
  attribute look-up;
* an operation that nobody else holds when its result is taken goes back to its owner for re-use.
"""

from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject

from moorings._native cimport is_task_callback
from moorings.foundation.home cimport Home
from moorings.foundation.operation cimport Operation, OperationOwner
from moorings.foundation.operation import Operation as _Operation

cdef extern from "Python.h":
    ctypedef PyObject *(*getattrofunc)(PyObject *, PyObject *) noexcept
    ctypedef int (*setattrofunc)(PyObject *, PyObject *, PyObject *) noexcept
    ctypedef PyObject *(*iternextfunc)(PyObject *) noexcept
    PyObject *PyObject_GenericGetAttr(PyObject *, PyObject *) noexcept
    int PyObject_GenericSetAttr(PyObject *, PyObject *, PyObject *) noexcept
    void PyErr_SetObject(PyObject *kind, PyObject *value) noexcept
    void PyErr_SetNone(PyObject *kind) noexcept
    bint PyTuple_Check(PyObject *) noexcept
    bint PyExceptionInstance_Check(PyObject *) noexcept
    Py_ssize_t Py_REFCNT(PyObject *) noexcept
    void Py_XINCREF(PyObject *) noexcept
    void Py_XDECREF(PyObject *) noexcept
    PyObject *Py_True
    PyObject *Py_False
    PyObject *Py_None
    PyObject *PyExc_StopIteration
    PyObject *PyExc_RuntimeError
    PyObject *PyUnicode_InternFromString(const char *) except NULL
    int PyUnicode_CompareWithASCIIString(PyObject *, const char *) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject *) noexcept
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t) noexcept
    PyObject *PyObject_Vectorcall(PyObject *, PyObject **, size_t, PyObject *) noexcept
    PyObject *PyObject_CallOneArg(PyObject *, PyObject *) noexcept
    void PyType_Modified(PyTypeObject *) noexcept

cdef extern from *:
    """
    #define moorings_type_of(value) ((PyObject *)Py_TYPE(value))
    static PyObject *moorings_fast_get_loop(PyObject *self, PyObject *unused);
    static PyObject *moorings_fast_add(PyObject *self, PyObject **args, Py_ssize_t count, PyObject *names);
    static PyMethodDef moorings_get_loop_def = {"get_loop", moorings_fast_get_loop, METH_NOARGS, NULL};
    static PyMethodDef moorings_add_def = {
        "add_done_callback", (PyCFunction)(void (*)(void))moorings_fast_add, METH_FASTCALL | METH_KEYWORDS, NULL
    };
    /* Bound to a home, not to an operation: made once for a loop, not once for an await. */
    #define moorings_bound_get_loop(self) PyCFunction_New(&moorings_get_loop_def, self)
    #define moorings_bound_add(self) PyCFunction_New(&moorings_add_def, self)
    static void moorings_set_slots(PyTypeObject *type, iternextfunc next, getattrofunc get, setattrofunc set) {
        type->tp_iternext = next;
        type->tp_getattro = get;
        type->tp_setattro = set;
        PyType_Modified(type);
    }
    """
    PyObject *moorings_type_of(PyObject *) noexcept
    object moorings_bound_get_loop(PyObject *)
    object moorings_bound_add(PyObject *)
    void moorings_set_slots(PyTypeObject *, iternextfunc, getattrofunc, setattrofunc) noexcept

cdef PyObject *_blocking_name = PyUnicode_InternFromString(b"_asyncio_future_blocking")

cdef PyObject *_get_loop_name = PyUnicode_InternFromString(b"get_loop")
cdef PyObject *_add_name = PyUnicode_InternFromString(b"add_done_callback")
cdef PyObject *_known_names = NULL

cdef object _misused = "this add_done_callback serves one call of an asyncio task"

cdef int _STARTED = 0
cdef int _COMPLETED = 1


cdef int _prepare(Operation operation) except -1:
    operation.owner.prepare_wait(operation)
    return 0


cdef void _set_stop(PyObject *value) noexcept:
    cdef PyObject *stop
    if value is Py_None:
        return
    if PyTuple_Check(value) or PyExceptionInstance_Check(value):
        # PyErr_SetObject would unpack a tuple into arguments and take an exception for the instance itself.
        stop = PyObject_CallOneArg(PyExc_StopIteration, value)
        if stop is not NULL:
            PyErr_SetObject(PyExc_StopIteration, stop)
            Py_XDECREF(stop)
    else:
        PyErr_SetObject(PyExc_StopIteration, value)


cdef PyObject *_next(PyObject *pointer) noexcept:
    cdef Operation operation = <Operation>pointer
    cdef PyObject *value
    cdef object result
    if operation.closed:
        return _slow_next(pointer)
    if operation.state == _STARTED:
        if operation.options >= 32 and operation.owner is not None:  # QUEUED_OPTIONS
            _prepare(operation)
        if operation.state == _STARTED:
            operation.blocking = True
            Py_XINCREF(pointer)
            return pointer
    if operation.state == _COMPLETED:
        result = operation.result_value
        # One reference is the awaiting frame's, one is ours here.
        if Py_REFCNT(pointer) == 2:
            operation.reuse()
        value = <PyObject *>result
        _set_stop(value)
        return NULL
    operation.error_seen = True
    result = operation.error
    value = <PyObject *>result
    PyErr_SetObject(moorings_type_of(value), value)
    return NULL


cdef PyObject *_slow_next(PyObject *pointer) noexcept:
    cdef object error
    try:
        (<object>pointer).outcome()
    except BaseException as caught:
        error = caught
    PyErr_SetObject(moorings_type_of(<PyObject *>error), <PyObject *>error)
    return NULL


cdef bint _names_context(PyObject *names) noexcept:
    """True for the keywords ("context",). asyncio uses one tuple for all its calls: remember it."""
    global _known_names
    if PyTuple_GET_SIZE(names) != 1 or PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), b"context") != 0:
        return False
    Py_XINCREF(names)
    Py_XDECREF(_known_names)
    _known_names = names
    return True


cdef PyObject *_fast_get_loop "moorings_fast_get_loop"(PyObject *pointer, PyObject *unused) noexcept:
    cdef PyObject *loop = <PyObject *>(<Home>pointer).loop
    Py_XINCREF(loop)
    return loop


cdef PyObject *_fast_add "moorings_fast_add"(
    PyObject *pointer, PyObject **arguments, Py_ssize_t count, PyObject *names
) noexcept:
    """What an asyncio task calls when it starts to wait: add_done_callback(callback, context=context)."""
    cdef Home home = <Home>pointer
    cdef Operation operation = home.adding
    home.adding = None
    pointer = <PyObject *>operation
    if operation is None:
        PyErr_SetObject(PyExc_RuntimeError, <PyObject *>_misused)
        return NULL
    if (
        count == 1
        and names is not NULL
        and (names is _known_names or _names_context(names))
        and operation.state == _STARTED
        and operation.callback is None
        and arguments[1] is not Py_None
    ):
        operation.callback = <object>arguments[0]
        operation.context = <object>arguments[1]
        operation.task_waits = is_task_callback(operation.callback)
        Py_XINCREF(Py_None)
        return Py_None
    cdef PyObject *method = PyObject_GenericGetAttr(pointer, _add_name)
    if method is NULL:
        return NULL
    cdef PyObject *answer = PyObject_Vectorcall(method, arguments, count, names)
    Py_XDECREF(method)
    return answer


cdef void _fill_in(Home home) noexcept:
    home.fast_get_loop = moorings_bound_get_loop(<PyObject *>home)
    home.fast_add = moorings_bound_add(<PyObject *>home)


cdef PyObject *_getattro(PyObject *pointer, PyObject *name) noexcept:
    cdef PyObject *answer
    if name is _blocking_name:
        answer = Py_True if (<Operation>pointer).blocking else Py_False
        Py_XINCREF(answer)
        return answer
    cdef Home home
    if name is _get_loop_name or name is _add_name:
        home = (<Operation>pointer).home
        if home.fast_get_loop is None:
            _fill_in(home)
        if name is _get_loop_name:
            answer = <PyObject *>home.fast_get_loop
            Py_XINCREF(answer)
            return answer
        if home.adding is <object>pointer:
            answer = <PyObject *>home.fast_add
            Py_XINCREF(answer)
            return answer
    return PyObject_GenericGetAttr(pointer, name)


cdef int _setattro(PyObject *pointer, PyObject *name, PyObject *value) noexcept:
    if name is _blocking_name:
        (<Operation>pointer).blocking = value is Py_True
        if value is Py_False:
            # A task does this, and then calls add_done_callback at once: it gets the ready-made callable.
            (<Operation>pointer).home.adding = <object>pointer
        return 0
    return PyObject_GenericSetAttr(pointer, name, value)


moorings_set_slots(<PyTypeObject *>_Operation, _next, _getattro, _setattro)
