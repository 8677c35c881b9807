"""What the clients written in Python share: arguments, rows of the matrix, names.

A row is one line, `ROW name: ok` or `ROW name: failed: why`; the suite counts them.
"""

import argparse
import itertools
import os
import traceback

PATIENCE = 10.0
_numbers = itertools.count(1)


def arguments():
    """The listeners that there are, as a dictionary of ports, and the CA's file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    for transport in ("tcp", "tls", "ws", "wss"):
        parser.add_argument(f"--{transport}", type=int)
    parser.add_argument("--ca")
    options = parser.parse_args()
    ports = {name: getattr(options, name) for name in ("tcp", "tls", "ws", "wss")}
    return options.host, {name: port for name, port in ports.items() if port}, options.ca


def unique(prefix):
    return f"{prefix}{os.getpid()}x{next(_numbers)}"


def payload(length=300):
    """Bytes that are no text and no zero-terminated string."""
    return bytes(number * 7 % 256 for number in range(length)) + unique("end").encode()


def report(name, error=None):
    if error is None:
        print(f"ROW {name}: ok", flush=True)
    else:
        why = "".join(traceback.format_exception_only(type(error), error)).strip()
        print(f"ROW {name}: failed: {' / '.join(why.splitlines())}", flush=True)


def row(name, function, *words):
    try:
        function(*words)
    except Exception as error:  # each row speaks for itself
        report(name, error)
    else:
        report(name)


async def row_async(name, coroutine):
    try:
        await coroutine
    except Exception as error:  # each row speaks for itself
        report(name, error)
    else:
        report(name)


def check(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} instead of {expected!r}")
