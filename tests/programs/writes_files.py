"""Writes an append-only log, a file that it overwrites in place, a file mapped shared, and an SQLite database, one step
after the other, and checks before every step that each of them holds exactly what was written so far.

Takes a directory and the go file. Prints "ready", then "count N" every step; when the go file exists, "ok" or what
differs.
"""
import mmap
import os
import sqlite3
import struct
import sys
import time

RECORDS = 5000
MAPPED_BYTES = 1 << 16


def check_log(path, steps):
    with open(path) as log:
        found = log.read().splitlines()
    expected = [f"step {i}" for i in range(steps)]
    if found != expected:
        raise AssertionError(f"the log has {len(found)} lines after {steps} steps, the last ones {found[-3:]}")


def check_overwritten(file, steps):
    file.seek(0)
    for i, (value,) in enumerate(struct.iter_unpack("<Q", file.read())):
        last = steps - 1 - (steps - 1 - i) % RECORDS if steps > i else None
        if last is not None and value != last:
            raise AssertionError(f"record {i} is {value} instead of {last}")


def check_database(database, steps):
    count, total = database.execute("select count(*), total(n) from steps").fetchone()
    if (count, total) != (steps, steps * (steps - 1) / 2):
        raise AssertionError(f"the database has {count} rows after {steps} steps")
    if database.execute("pragma integrity_check").fetchone()[0] != "ok":
        raise AssertionError("the database is damaged")


def step(number, log, overwritten, mapped, database):
    log.write(f"step {number}\n")
    log.flush()
    overwritten.seek(number % RECORDS * 8)
    overwritten.write(struct.pack("<Q", number))
    mapped[number % MAPPED_BYTES] = (number + 1) % 256
    database.execute("begin")
    database.execute("insert into steps values (?)", (number,))
    time.sleep(0.002)  # so that checkpoints come inside of transactions, too
    database.execute("commit")


def main():
    directory, go_file = os.path.abspath(sys.argv[1]), sys.argv[2]
    paths = {name: os.path.join(directory, name) for name in ("log", "records", "mapped", "steps.db")}
    with open(paths["records"], "wb+", buffering=0) as overwritten, open(paths["mapped"], "wb+") as backing:
        backing.truncate(MAPPED_BYTES)
        mapped = mmap.mmap(backing.fileno(), MAPPED_BYTES)
        log = open(paths["log"], "a")
        database = sqlite3.connect(paths["steps.db"], isolation_level=None)
        database.execute("create table steps (n integer primary key)")
        print("ready", flush=True)
        number = 0
        while not os.path.exists(go_file):
            check_log(paths["log"], number)
            check_overwritten(overwritten, number)
            if number > 0 and mapped[(number - 1) % MAPPED_BYTES] != number % 256:
                raise AssertionError(f"the mapped file lost step {number - 1}")
            check_database(database, number)
            step(number, log, overwritten, mapped, database)
            number += 1
            print("count", number, flush=True)
        print("ok")


try:
    main()
except AssertionError as difference:
    print("DIFFERS", difference)
    sys.exit(1)
