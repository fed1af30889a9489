"""The other end of a contestant that only receives, or echoes: sends to it from outside, a batch each time it asks.

Usage: `python udp_driver.py PART SIZE PEERS DESCRIPTOR`, with the part `receive` or `echo`. Over the descriptor, a
stream socket, the contestant first tells its port and the length of a batch, and then asks for batches, a byte each.
The answer, a byte, comes when the batch lies in the contestant's receive buffer, so that the contestant's time is its
own alone. Datagrams go one by one, from each peer in turn; echoes are checked before the next batch. Ends when the
contestant does.
"""

from __future__ import annotations

import socket
import struct
import sys

HOST = "127.0.0.1"
PATIENCE = 5.0
#: Room for a batch of echoes.
BUFFER = 4 << 20
#: Port and length of a batch.
GREETING = struct.Struct("!HI")


def main(part: str, size: str, peers: str, descriptor: str) -> None:
    data = b"m" * int(size)
    with socket.socket(fileno=int(descriptor)) as contestant:
        greeting = contestant.recv(GREETING.size, socket.MSG_WAITALL)
        if len(greeting) < GREETING.size:
            return
        port, batch = GREETING.unpack(greeting)
        sockets: list[socket.socket] = []
        for _ in range(int(peers)):
            each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            each.settimeout(PATIENCE)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            each.connect((HOST, port))
            sockets.append(each)
        sent = 0
        pending: list[socket.socket] = []
        while contestant.recv(1):
            for each in pending:
                if each.recv(65536) != data:
                    sys.exit("udp_driver: an echo is not what was sent")
            batch_sockets = [sockets[index % len(sockets)] for index in range(sent, sent + batch)]
            for each in batch_sockets:
                each.send(data)
            sent += batch
            pending = batch_sockets if part == "echo" else []
            contestant.sendall(b"a")
        for each in sockets:
            each.close()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except TimeoutError:
        sys.exit("udp_driver: an echo did not come")
