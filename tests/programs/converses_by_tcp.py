#!/usr/bin/env python3
"""Two parties that talk through TCP connections, each of which has bytes under way while one of them is away.

converses_by_tcp.py peer HOST DIRECTORY       the one that stays
converses_by_tcp.py program HOST DIRECTORY    the one that is suspended and resumed

Files in DIRECTORY tell them how far the other one is, and where it listens. Both say 'ok' if every byte came, in
order. Connections: from the program by IPv4, by IPv6 where the machine has it, and two that the program accepts, the
last of which is full: the peer does not read, and more waits in the program's queue.
"""
import array
import fcntl
import os
import socket
import struct
import sys
import time

ROLE, HOST, DIRECTORY = sys.argv[1:4]
FROM_PEER_FIRST, FROM_PEER = 30000, 40000
FROM_PROGRAM_FIRST, FROM_PROGRAM = 20000, 3000000
SMALL_BUFFER = 50000
SIOCOUTQ = 0x5411
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


def pattern(start, end):
    """Bytes by which a place in the stream can be told."""
    words = array.array("I", range(start // 4, (end + 3) // 4))
    return words.tobytes()[start % 4:start % 4 + end - start]


def tell(name, text=""):
    with open(f"{DIRECTORY}/{ROLE}.new", "w", encoding="ascii") as file:
        file.write(text)
    os.rename(file.name, f"{DIRECTORY}/{name}")


def hear(name):
    while not os.path.exists(f"{DIRECTORY}/{name}"):
        time.sleep(0.01)
    with open(f"{DIRECTORY}/{name}", encoding="ascii") as file:
        return file.read()


def listeners(*hosts):
    made = []
    for family, host in hosts:
        try:
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, 0))
        except OSError:
            continue
        listener.listen()
        made.append(listener)
    return made


def read_all(connection, expected, what):
    received = bytearray()
    while more := connection.recv(1 << 16):
        received += more
    if received != pattern(0, expected):
        sys.exit(f"{what}: {len(received)} bytes of {expected}, or others")


def be_deaf(connection):
    """Nothing that comes is acknowledged: the other one keeps it in its queue, as sent."""
    drop_all = array.array("B", struct.pack("HBBI", 6, 0, 0, 0))
    address, _ = drop_all.buffer_info()
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 1, address))


def unacknowledged(connection):
    return struct.unpack("i", fcntl.ioctl(connection, SIOCOUTQ, b"\0\0\0\0"))[0]


def fill(connection):
    """Until nothing fits any more. Returns how many bytes it took."""
    stream, put = pattern(0, FROM_PROGRAM), 0
    connection.setblocking(False)
    try:
        while put < FROM_PROGRAM:
            put += connection.send(stream[put:put + 10000])
    except BlockingIOError:
        pass
    connection.setblocking(True)
    return put


def connect_with_small_buffer(address):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    connection.connect(address)
    return connection


def wait_until_acknowledged(connections):
    """The other one has nothing to say any more until it is spoken to."""
    for connection in connections:
        while unacknowledged(connection):
            time.sleep(0.01)


def stay():
    own = listeners((socket.AF_INET, HOST), (socket.AF_INET6, "::1"))
    tell("addresses", "\n".join(f"{one.getsockname()[0]} {one.getsockname()[1]}" for one in own))
    connections = [one.accept()[0] for one in own]
    port = int(hear("listening"))
    connections.append(socket.create_connection((HOST, port)))
    connections.append(connect_with_small_buffer((HOST, port)))
    for connection in connections:
        connection.sendall(pattern(0, FROM_PEER_FIRST))
    wait_until_acknowledged(connections)
    be_deaf(connections[0])
    tell("deaf")
    hear("back")
    connections[0].setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    for number, connection in enumerate(connections):
        read_all(connection, FROM_PROGRAM, f"connection {number} to the peer")
        connection.sendall(pattern(FROM_PEER_FIRST, FROM_PEER))
        connection.close()


def go_away():
    connections = [socket.create_connection(line.split()) for line in hear("addresses").splitlines()]
    (listener,) = listeners((socket.AF_INET, HOST))
    tell("listening", str(listener.getsockname()[1]))
    connections.append(listener.accept()[0])
    connections.append(listener.accept()[0])
    hear("deaf")
    for connection in connections[:-1]:
        connection.sendall(pattern(0, FROM_PROGRAM_FIRST))
    connections[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    put = [FROM_PROGRAM_FIRST] * (len(connections) - 1) + [fill(connections[-1])]
    wait_until_acknowledged(connections[1:-1])  # the first one is not heard
    print("ready", flush=True)
    hear("go")
    for number, connection in enumerate(connections):
        try:
            connection.sendall(pattern(put[number], FROM_PROGRAM))
            connection.shutdown(socket.SHUT_WR)
            read_all(connection, FROM_PEER, f"connection {number} to the program")
        except (ConnectionResetError, BrokenPipeError):
            print("lost", flush=True)


stay() if ROLE == "peer" else go_away()
print("ok", flush=True)
