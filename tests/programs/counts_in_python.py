"""Counts in threads, generators, a big dict, sqlite3, ssl and zlib, and checks all of it on every round.

Takes the go file. Prints "ready", then "count N" every round; when the go file exists, "ok" or what differs.
"""
import hashlib
import os
import sqlite3
import ssl
import sys
import tempfile
import threading
import time
import zlib

DICT_ENTRIES = 50_000
WORKERS = 4
ROWS = 500


def squares():
    number = 0
    while True:
        yield number, number * number
        number += 1


class Worker(threading.Thread):
    """Counts, and keeps a digest of what it counted."""

    def __init__(self, number, finished):
        super().__init__(name=f"worker-{number}")
        self.number = number
        self.finished = finished
        self.count = 0
        self.digest = hashlib.sha256()
        self.lock = threading.Lock()

    def run(self):
        while not self.finished.wait(0.005):
            with self.lock:
                self.digest.update(b"%d:%d" % (self.number, self.count))
                self.count += 1

    def check(self):
        with self.lock:
            expected = hashlib.sha256()
            for i in range(self.count):
                expected.update(b"%d:%d" % (self.number, i))
            if expected.digest() != self.digest.digest():
                raise AssertionError(f"digest of {self.name} after {self.count} rounds")


def dict_digest(entries):
    return hash(frozenset((key, value) for key, value in entries.items()))


def fill(database):
    database.execute("create table numbers (n integer primary key, square integer)")
    database.executemany("insert into numbers values (?, ?)", ((n, n * n) for n in range(ROWS)))
    database.commit()


def check_database(database, rows):
    found = database.execute("select count(*), sum(square) from numbers").fetchone()
    expected = (rows, sum(n * n for n in range(rows)))
    if found != expected:
        raise AssertionError(f"database: {found} instead of {expected}")


def check_round(count, state):
    number, square = next(state["generator"])
    if (number, square) != (count, count * count):
        raise AssertionError(f"generator gave {number}, {square} in round {count}")
    text = b"round %d " % count * 100
    if zlib.decompress(zlib.compress(text)) != text:
        raise AssertionError("zlib changed the text")
    state["context"].check_hostname = count % 2 == 0
    if state["context"].check_hostname != (count % 2 == 0):
        raise AssertionError("the ssl context forgot a setting")
    state["memory"].execute("insert into numbers values (?, ?)", (ROWS + count, (ROWS + count) ** 2))
    if count % 20 == 0:
        check_database(state["memory"], ROWS + count + 1)
        check_database(state["file"], ROWS)
    if count % 50 == 0 and dict_digest(state["entries"]) != state["entries_digest"]:
        raise AssertionError("the big dict changed")


def main():
    go_file = sys.argv[1]
    entries = {f"key {i}": i * 7 for i in range(DICT_ENTRIES)}
    with tempfile.TemporaryDirectory(dir=".") as directory:
        state = {
            "generator": squares(),
            "context": ssl.create_default_context(),
            "memory": sqlite3.connect(":memory:"),
            "file": sqlite3.connect(os.path.join(os.path.abspath(directory), "numbers.db")),
            "entries": entries,
            "entries_digest": dict_digest(entries),
        }
        fill(state["memory"])
        fill(state["file"])
        finished = threading.Event()
        workers = [Worker(i, finished) for i in range(WORKERS)]
        for worker in workers:
            worker.start()
        print("ready", flush=True)
        count = 0
        while not os.path.exists(go_file):
            check_round(count, state)
            workers[count % WORKERS].check()
            print(f"count {count}\n", end="", flush=True)  # one write: a checkpoint may come between two
            count += 1
            time.sleep(0.01)
        finished.set()
        for worker in workers:
            worker.join()
            worker.check()
        check_database(state["memory"], ROWS + count)
        check_database(state["file"], ROWS)
        if dict_digest(entries) != state["entries_digest"]:
            raise AssertionError("the big dict changed")
    print("ok", flush=True)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as difference:
        print(difference, flush=True)
        os._exit(1)
