"""Listens at HOST:PORT without SO_REUSEADDR, and greets whoever says something. Ends no connection."""

import socket
import sys

TCP_LINGER2_SECONDS = 2  # how long what is left of its connections stays after its end

server = socket.socket()
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, TCP_LINGER2_SECONDS)
server.bind((sys.argv[1], int(sys.argv[2])))
server.listen()
print("ready", flush=True)
clients = []
while True:
    client, _ = server.accept()
    client.recv(100)
    client.sendall(b"hello\n")
    clients.append(client)
