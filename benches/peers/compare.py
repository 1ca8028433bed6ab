#!/usr/bin/env python3
"""Measures plsim beside ns-3 and the Linux kernel in one run, and writes one table with ratios.

All programs run one after the other on one processor; peers and plsim take turns, forwards in the first pair,
backwards in the second, and so on. A peer that cannot run here is skipped, and a line says what it misses.
What the rows mean: README.md beside this file.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import kernel
import ns3
import ours
import rows
import table
from measure import HERE, Failed, Missing, Pinned, call, need

PEERS = {"ns3": ns3, "kernel": kernel}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    udp_packets: int = 300_000
    ns3_connections: int = 5_000
    connections: int = 100_000
    # Packets of known flows.
    packets: int = 500_000
    # How many flows are known or new.
    flows: tuple = (64_512, 258_048)
    # How often the engine fills a port space: the kernel's one filling takes as long as hundreds.
    rounds: int = 32


QUICK = Sizes(30_000, 1_000, 10_000, 100_000, (64_512,), 4)


def arguments():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    last = max(os.sched_getaffinity(0))
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="how often all is measured (5)")
    parser.add_argument("--quick", action="store_true", help="measure a tenth: for a first look")
    parser.add_argument("--only", choices=PEERS, help="measure beside one peer only")
    parser.add_argument("--cpu", type=int, default=last, metavar="N", help=f"the processor ({last})")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write peers.md, peers.json and peers.csv")
    again = "print the table of a peers.json again"
    parser.add_argument("--from", dest="again", type=Path, metavar="FILE", help=again)
    parser.add_argument("--list", action="store_true", help="print the rows and measure nothing")
    chosen = parser.parse_args()
    if chosen.pairs < 1:
        parser.error("--pairs must be at least 1")
    if chosen.cpu not in os.sched_getaffinity(0):
        parser.error(f"there is no processor {chosen.cpu} for this process")
    return chosen


def tables(sizes, only):
    """Returns the rows of each peer."""
    found = {"ns3": rows.simulators(), "kernel": rows.kernel(sizes)}
    return {name: found[name] for name in PEERS if only in (None, name)}


def in_turn(rows_of_peers, measures):
    """Returns the measures that the rows need, each beside what it is compared with."""
    sides = ((row.minus, row.peer, row.ours) for some in rows_of_peers.values() for row in some)
    names = [figure.split("/")[0] for side in sides for figure in side if figure]
    return {name: measures[name] for name in names if name in measures}


def measure(order, count):
    """Takes all measures so many times, every other time in reverse; who interrupts gets the whole pairs."""
    pairs = []
    try:
        for number in range(count):
            pair = {}
            for name, run in order if number % 2 == 0 else reversed(order):
                print(f"pair {number + 1} of {count}: {name}", file=sys.stderr, flush=True)
                pair[name] = run()
            pairs.append(pair)
    except KeyboardInterrupt:
        if not pairs:
            raise
        print(f"interrupted: {len(pairs)} of {count} pairs", file=sys.stderr)
    return pairs


def interrupt(*_):
    """Ends the run tidily: namespaces go, limits come back."""
    raise KeyboardInterrupt


def processor():
    """Returns the name of the processor."""
    names = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return next(names, f":{platform.machine()}").split(":")[1].strip()


def first_line(command, otherwise):
    """Returns what a command says first, or something else where it is missing or fails.

    >>> first_line(["echo", "one\\ntwo"], "none"), first_line(["false"], "none"), first_line(["no-such-program"], "none")
    ('one', 'none', 'none')
    """
    try:
        return call(command).split("\n")[0] if shutil.which(command[0]) else otherwise
    except Failed:
        return otherwise


def commit():
    """Returns which state of the repository is measured; `-dirty` if files differ from it."""
    describe = ["git", "-c", "safe.directory=*", "-C", HERE, "describe", "--always", "--dirty"]
    return f"commit {first_line(describe, 'unknown: no repository')}"


class Session:
    """The peers that are there, from the first to the last measurement."""

    def __init__(self, options, folder):
        self.options = options
        sizes = QUICK if options.quick else Sizes()
        self.rows = tables(sizes, options.only)
        self.pinned = Pinned(options.cpu)
        parts = self.pinned, sizes, folder
        self.ours = ours.Peer(*parts)
        self.peers = {name: PEERS[name].Peer(*parts) for name in self.rows}
        # What is kept: `--from` makes the same table of it again.
        self.record = {
            "processor": processor(),
            "cpu": options.cpu,
            "load": round(os.getloadavg()[0], 1),
            "quick": options.quick,
            "only": options.only,
            "versions": {},
            "skipped": {},
        }

    def list(self):
        """Prints the rows, and fails if nobody measures one of their figures."""
        everything = {}
        for peer in (self.ours, *self.peers.values()):
            everything.update(peer.measures())
        measured = in_turn(self.rows, everything)
        for name, some in self.rows.items():
            for row in some:
                for figure in filter(None, (row.minus, row.peer, row.ours)):
                    assert figure.split("/")[0] in measured, f"nobody measures {figure}"
                print(f"{name}: {row.work} ({row.unit}): {row.peer or '-'} | {row.ours or '-'}")

    def run(self):
        """Measures, leaves nothing of the peers behind, and returns the record."""
        need("taskset", "util-linux")
        with ExitStack() as stack:
            print("building plsim", file=sys.stderr)
            stack.enter_context(self.ours)
            versions = self.record["versions"]
            versions["plsim"] = f"{self.ours.version()}, {commit()}"
            versions["rustc"] = first_line(["rustc", "--version"], "rustc unknown")
            versions["system"] = f"{platform.system()} {platform.release()}"
            measures = self.ours.measures()
            for name, peer in self.peers.items():
                print(f"preparing {PEERS[name].NAME}", file=sys.stderr)
                try:
                    stack.enter_context(peer)
                except Missing as missing:
                    self.record["skipped"][name] = str(missing)
                    print(f"skipped: {PEERS[name].NAME}: {missing}", file=sys.stderr)
                    continue
                versions[name] = peer.version()
                measures.update(peer.measures())
            pairs = measure(list(in_turn(self.rows, measures).items()), self.options.pairs)
        return {**self.record, "shares": self.pinned.shares, "pairs": pairs}


def text_of(record):
    """Writes what was measured, for people."""
    versions, pairs, shares = record["versions"], record["pairs"], record["shares"]
    count = f"{len(pairs)} pairs" if len(pairs) > 1 else "1 pair"
    parts = [
        f"{record['processor']}, processor {record['cpu']}, load {record['load']} before; "
        f"{'; '.join(versions.values())}. {count}, wall time: median (least - most). A program had the processor "
        f"for {100 * median(shares):.0f} % of its time in the median run, {100 * min(shares):.0f} % in the worst.\n"
    ]
    for name, some in tables(QUICK if record["quick"] else Sizes(), record["only"]).items():
        skipped = record["skipped"].get(name)
        if skipped:
            parts.append(f"Skipped: {PEERS[name].NAME}: {skipped}\n")
        parts.append(table.markdown(PEERS[name].NAME, some, pairs, skipped))
    return "\n".join(parts)


def write(folder, record, rows_of_peers):
    """Writes the table, the figures and the rows into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers.md").write_text(text_of(record))
    (folder / "peers.json").write_text(json.dumps(record, indent=1) + "\n")
    with (folder / "peers.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = ["peer", "work", "unit", "peer is", "plsim is", "pair"]
        writer.writerow([*columns, "peer's figure", "plsim's figure", "times as fast"])
        for name, some in rows_of_peers.items():
            writer.writerows(table.csv_lines(name, some, record["pairs"]))


def main():
    """Measures as the command line says."""
    options = arguments()
    signal.signal(signal.SIGTERM, interrupt)
    if options.again:
        print(text_of(json.loads(options.again.read_text())))
        return
    with tempfile.TemporaryDirectory(prefix="plsim-peers-") as folder:
        session = Session(options, Path(folder))
        if options.list:
            session.list()
            return
        try:
            record = session.run()
        except (Failed, Missing) as failed:
            sys.exit(f"error: {failed}")
        except KeyboardInterrupt:
            sys.exit("interrupted: nothing was measured")
    print(text_of(record))
    if options.out:
        write(options.out, record, session.rows)


if __name__ == "__main__":
    main()
