"""libckpt for Python: the functions of ckpt/ckpt.h that a script needs. No package, just this file."""
import ctypes
import os

DURABLE = 1


def _load():
    """What is loaded already (a preload), else what CKPT_LIBRARY names, else what the system finds."""
    loaded = ctypes.CDLL(None)
    if hasattr(loaded, "ckpt_checkpoint"):
        return loaded
    return ctypes.CDLL(os.environ.get("CKPT_LIBRARY", "libckpt.so"))


_library = _load()
_library.ckpt_generation.restype = ctypes.c_uint64
_library.ckpt_args.restype = ctypes.POINTER(ctypes.c_char_p)


def _checked(result):
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def checkpoint(durable=False):
    """False in the process that goes on, True in one that is recovered from the checkpoint."""
    return _checked(_library.ckpt_checkpoint(DURABLE if durable else 0)) == 1


def args():
    """What stood behind -- in `ckptrun --recover NAME -- ARG...`; an empty list if nothing did."""
    count = ctypes.c_size_t()
    words = _library.ckpt_args(ctypes.byref(count))
    return [os.fsdecode(words[i]) for i in range(count.value)]


def generation():
    """A number that is another one after every recover; 0 without ckptrun."""
    return _library.ckpt_generation()
