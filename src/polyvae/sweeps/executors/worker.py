"""A process that carries out one task after the other until its parent ends.

`local` starts this file as a script. Before it listens it imports the standard library alone, so that it ends with its
parent from the first moment on, whatever ended the parent.
"""

import os
import sys
from multiprocessing import spawn
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Thread

NAME = "polyvae worker"


def serve(connection: Connection) -> None:
    """Sends what the function returns for each task. First come the parent's state and the function."""
    inbox: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    spawn.prepare(ForkingPickler.loads(inbox.get()))
    function = ForkingPickler.loads(inbox.get())
    while True:
        connection.send(function(ForkingPickler.loads(inbox.get())))


def _listen(connection: Connection, inbox: SimpleQueue[bytes]) -> None:
    try:
        while True:
            inbox.put(connection.recv_bytes())
    except (EOFError, OSError):  # the parent is gone, and nobody waits for the task
        os._exit(1)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
