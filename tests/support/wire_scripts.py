"""Scripts that use the wire in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from peer import Peer, Stage, answered

#: What each script begins with: a store on the server of its arguments.
START = """
import os, sys, threading
from wire_stores import wire_store
from cloudcached.stores.port import Write

store = wire_store(sys.argv[1], ca_bundle=sys.argv[2])

def body(name):
    return bytes(store.get(name, timeout=60).read())

def ask(*names):
    for name in names:
        assert body(name) == f"/bucket/{name}".encode(), name

def fork(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except SystemExit:  # a child's child
            raise
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        sys.exit()  # the interpreter ends as usual
    return child

def wait(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def run(script: str, url: str, bundle: str = "", before: str = "", *, quiet: bool = True) -> str:
    """Run a script against the server at *url*, and return its standard output; it must succeed, and say nothing else."""
    command = [sys.executable, "-c", f"{before}\n{START}\n{script}", url, bundle]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=env)
    assert done.returncode == 0, done.stderr
    if quiet:
        assert not done.stderr, done.stderr
    return done.stdout


Staged = Callable[[Callable[[Peer], None]], Stage]


def sized(peer: Peer) -> None:
    """Answer each request with as many bytes as its name ends with."""
    while asked := peer.request():
        size = int(asked.target.rpartition("-")[2])
        peer.send(answered(asked, b"" if asked.method == "PUT" else asked.target.encode().ljust(size)))
