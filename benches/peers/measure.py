"""What all measurements share: programs that are built, run pinned, and answer with a line of JSON."""

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"


class Missing(Exception):
    """A peer cannot run here; the text says what is missing, and what helps."""


class Failed(Exception):
    """A program ended with an error."""


def need(program, package):
    """Demands a program; otherwise the peer is skipped with the name of the package to install."""
    if shutil.which(program) is None:
        raise Missing(f"`{program}` is missing: apt-get install {package}")


def call(command, text=None):
    """Runs a command to its end and returns what it printed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def processor_time():
    """Returns the seconds of processor time of all programs so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Pinned:
    """Runs programs on one processor."""

    def __init__(self, cpu):
        self.cpu = cpu
        # For each run, the share of its time in which it had the processor.
        self.shares = []

    def run(self, command):
        """Returns the JSON that a program prints and the seconds of wall time that its process took.

        A run that fails, for instance because a packet was lost, is repeated once, and that is said.
        """
        command = ["taskset", "-c", str(self.cpu), *map(str, command)]
        for is_last in (False, True):
            begun, used = time.perf_counter(), processor_time()
            try:
                printed = call(command)
            except Failed as failed:
                if is_last:
                    raise
                print(f"again: {failed}", file=sys.stderr)
                continue
            seconds = time.perf_counter() - begun
            self.shares.append((processor_time() - used) / seconds)
            return json.loads(printed), seconds
        raise AssertionError("the last attempt returns or raises")
