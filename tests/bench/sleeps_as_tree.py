# sleeps_as_tree.py PROCESSES: so many processes, this one included, that wake ten times a second.
import os
import sys
import time

for _ in range(int(sys.argv[1]) - 1):
    if os.fork() == 0:
        while os.getppid() != 1:
            time.sleep(0.1)
        os._exit(0)
print("ready", flush=True)
while True:
    time.sleep(0.1)
