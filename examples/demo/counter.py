"""Counts aloud, for ever. Nothing in it knows about checkpoints."""
import threading
import time

numbers = []
heard = threading.Event()


def listen():
    while True:
        heard.wait()
        heard.clear()


threading.Thread(target=listen, daemon=True).start()

while True:
    numbers.append(len(numbers) + 1)
    heard.set()
    assert sum(numbers) == len(numbers) * (len(numbers) + 1) // 2, "memory came back wrong"
    print(numbers[-1], flush=True)
    time.sleep(0.02)
