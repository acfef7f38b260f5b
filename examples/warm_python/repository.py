"""A Python that has loaded its modules already.

    ckptrun --name repo -- python3 repository.py json sqlite3 ...   loads them, is checkpointed, and ends
    ckptrun --recover repo@1 -- script.py ARG...                    runs script.py in it at once
    ckptrun --recover repo@1 --clone job7 -- script.py ARG...       the same, beside others
"""
import importlib
import os
import random
import runpy
import sys

import ckpt

for name in sys.argv[1:]:
    importlib.import_module(name)

if not ckpt.checkpoint(durable=True):
    print("ready:", *sys.argv[1:], flush=True)
    sys.exit(0)

# From here on this is a process that was recovered: what must not be the same in all of them is made anew.
random.seed(ckpt.generation())
sys.argv = ckpt.args()
if not sys.argv:
    sys.exit("which script? ckptrun --recover NAME -- script.py ARG...")
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
