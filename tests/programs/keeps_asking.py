"""Clients of a server of lines: COUNT connections, each of which asks again and again and connects anew when it is lost.

Prints "lost N" when all of them have been lost N times, "answered N" when all of them have had an answer since.
Ends after the second answer.
"""

import asyncio
import sys

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
losses = [0] * COUNT
answers = [-1] * COUNT
told = {"lost": 0, "answered": -1}


def tell(what, values):
    if min(values) > told[what]:
        told[what] = min(values)
        print(what, told[what], flush=True)


async def ask(number):
    while told["answered"] < 1:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            while told["answered"] < 1:
                question = f"question of client {number}\n".encode()
                writer.write(question)
                line = await reader.readline()
                if not line:
                    raise ConnectionError("closed")
                assert line == question.upper(), line
                if answers[number] < losses[number]:
                    answers[number] = losses[number]
                    tell("answered", answers)
                await asyncio.sleep(0.002)
            writer.close()
        except OSError:
            if answers[number] == losses[number]:
                losses[number] += 1
                tell("lost", losses)
            await asyncio.sleep(0.01)


async def main():
    await asyncio.gather(*(ask(number) for number in range(COUNT)))


asyncio.run(main())
