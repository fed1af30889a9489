"""The public test kit: checks that every stream passes, scripted streams, system calls that fail on demand."""

from moorings.testing.faults import FaultPlan, faulty
from moorings.testing.scripted import END, ScriptedStream
from moorings.testing.stream_checks import (
    HALF_CLOSE_CHECKS,
    ONE_WAY_CHECKS,
    STREAM_CHECKS,
    TRANSPORT_CHECKS,
    TWO_WAY_CHECKS,
    Check,
    MakePair,
    check_half_closeable_stream,
    check_one_way_stream,
    check_stream,
    check_two_way_stream,
    run_check,
)

__all__ = [
    "END",
    "HALF_CLOSE_CHECKS",
    "ONE_WAY_CHECKS",
    "STREAM_CHECKS",
    "TRANSPORT_CHECKS",
    "TWO_WAY_CHECKS",
    "Check",
    "FaultPlan",
    "MakePair",
    "ScriptedStream",
    "check_half_closeable_stream",
    "check_one_way_stream",
    "check_stream",
    "check_two_way_stream",
    "faulty",
    "run_check",
]
