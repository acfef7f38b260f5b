"""A fixed amount of work for a processor, with memory that changes a little meanwhile.

  works_in_python.py UNITS RESIDENT_MIB DIRTY_MIB_PER_SECOND GO_FILE

Fills its memory, prints "ready", waits for the go file, works, and prints "worked SECONDS".
"""
import os
import sys
import time

PAGE = 4096
UNIT_STEPS = 20000
STRIDE = 40503  # odd, so that pages are scattered


def work(seed):
    counts = {}
    value = seed
    for _ in range(UNIT_STEPS):
        value = (value * 1103515245 + 12345) % 2147483648
        counts[value % 1009] = counts.get(value % 1009, 0) + 1
    return sum(key * count for key, count in counts.items())


def main():
    units, resident_mib, dirty_mib = (int(word) for word in sys.argv[1:4])
    go_file = sys.argv[4]
    memory = bytearray(os.urandom(1 << 20)) * resident_mib
    page_count = len(memory) // PAGE
    work(1)
    print("ready", flush=True)
    while not os.path.exists(go_file):
        time.sleep(0.005)
    begin = time.monotonic()
    dirtied = 0
    for unit in range(units):
        work(unit)
        due = int((time.monotonic() - begin) * dirty_mib * 256) if page_count else 0
        for page in range(dirtied, due):
            at = page * STRIDE % page_count * PAGE
            memory[at] = (memory[at] + 1) % 256
        dirtied = due
    print(f"worked {time.monotonic() - begin:.9f}", flush=True)


main()
