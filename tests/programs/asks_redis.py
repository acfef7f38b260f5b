"""Asks a Redis server over one connection, which it never makes anew.

Files DIRECTORY/ask.1, ask.2, ... hold the commands. Prints the first line of each answer, or the name of the exception.
"""

import os
import socket
import sys
import time

HOST, PORT, DIRECTORY = sys.argv[1], int(sys.argv[2]), sys.argv[3]

connection = socket.create_connection((HOST, PORT))
answers = connection.makefile()
print("connected", flush=True)
number = 0
while True:
    number += 1
    path = f"{DIRECTORY}/ask.{number}"
    while not os.path.exists(path):
        time.sleep(0.002)
    with open(path) as file:
        command = file.read().strip()
    try:
        connection.sendall(command.encode() + b"\r\n")
        print(answers.readline().strip(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
