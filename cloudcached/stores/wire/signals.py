"""Tells the failures of a socket from exceptions that a signal handler raises at the same place."""

from __future__ import annotations

import signal
import threading
from types import CodeType
from typing import Any


def is_ours(error: BaseException) -> bool:
    """Return whether a socket raised it, and not a signal handler, whose frame then lies behind ours.

    Sockets may be anybody's (gevent's, a proxy's, a test's), so it is the handlers that are looked for.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return True  # handlers run in the main thread
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return False
        trace = trace.tb_next
    return True


def _code_of(handler: Any) -> CodeType | None:
    handler = getattr(handler, "func", handler)  # a partial's
    handler = getattr(handler, "__func__", handler)  # a method's
    code = getattr(handler, "__code__", None) or getattr(getattr(type(handler), "__call__", None), "__code__", None)  # noqa: B004
    return code if isinstance(code, CodeType) else None
