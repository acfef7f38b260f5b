"""Listens at HOST:PORT, greets whoever says something, and holds a lock of FILE. Ends where it cannot accept."""

import fcntl
import socket
import sys

HOST, PORT, FILE = sys.argv[1], int(sys.argv[2]), sys.argv[3]

lock = open(FILE, "w")
fcntl.flock(lock, fcntl.LOCK_EX)
server = socket.create_server((HOST, PORT))
print("ready", flush=True)
try:
    while True:
        client, _ = server.accept()
        client.recv(100)
        client.sendall(b"hello\n")
        client.close()
except OSError:
    print("no address", flush=True)
