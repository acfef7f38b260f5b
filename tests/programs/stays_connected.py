"""Connects to HOST:PORT, prints the greeting, and keeps its end of the connection open."""

import signal
import socket
import sys

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(b"hello\n")
print(connection.makefile().readline().strip(), flush=True)
while True:
    signal.pause()
