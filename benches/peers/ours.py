"""plsim: whole runs of the program, and the NAT engine alone."""

import json

from measure import HERE, call

NAME = "plsim"
SCENARIOS = HERE / "scenarios"
ROOT = HERE.parent.parent


class Peer:
    """The release programs `plsim` and `engine`."""

    def __init__(self, pinned, sizes, _folder):
        self.pinned = pinned
        self.sizes = sizes
        self.programs = {}

    def __enter__(self):
        build = ["cargo", "build", "--release", "--manifest-path", ROOT / "Cargo.toml"]
        build += ["--package", "plsim-cli", "--package", "plsim-benches", "--bins"]
        for line in call([*build, "--message-format", "json"]).splitlines():
            artifact = json.loads(line)
            if artifact.get("executable"):
                self.programs[artifact["target"]["name"]] = artifact["executable"]
        return self

    def __exit__(self, *_):
        pass

    def version(self):
        """Returns the program's version."""
        return call([self.programs["plsim"], "--version"]).strip()

    def simulate(self, scenario, **settings):
        """Returns the summary of a whole run, statistics and all, and the seconds that its process took."""
        command = [self.programs["plsim"], "run", "--quiet", "--format", "json"]
        command.append(SCENARIOS / f"{scenario}.toml")
        for key, value in settings.items():
            command += ["--set", f"{key.replace('__', '.')}={value}"]
        return self.pinned.run(command)

    def udp(self, flows, packets, vms=8):
        """Packets of some flows, 10 000 or 100 000 of them in a second of virtual time."""
        rate = 10_000 if flows < 10_000 else 100_000
        interval = flows * 1_000_000 // rate
        each = max(packets // flows, 1)
        summary, seconds = self.simulate(
            "udp",
            workload__packets__connections=flows,
            workload__packets__rate=f"{rate}/s",
            workload__packets__interval=f"{interval}us",
            workload__packets__hold=f"{interval * each}us",
            backend_vm__vm__count=vms,
            run__duration=f"{interval * (each + 1) + 1_000_000}us",
        )
        ledger = summary["ledger"]
        assert ledger["injected"] == flows * each, ledger
        delivered = ledger["delivered"]
        refused = 1 - delivered / ledger["injected"]
        return {"rate": delivered / seconds, "ns": seconds * 1e9 / delivered, "refused": refused}

    def tcp(self, stack):
        """Connections per second, 1 000 of which start in a second of virtual time."""
        connections = self.sizes.connections
        summary, seconds = self.simulate(
            "tcp",
            workload__requests__connections=connections,
            client_vm__client__tcp_stack=stack,
            backend_vm__vm__tcp_stack=stack,
            run__duration=f"{connections // 1000 + 2}s",
        )
        assert summary["connections"]["closed"] == connections, summary["connections"]
        return {"rate": connections / seconds}

    def engine(self, *words):
        """Returns what the NAT engine alone takes, one packet at a time and in slices."""
        return self.pinned.run([self.programs["engine"], *words])[0]

    def measures(self):
        """Returns what is measured, by name."""
        packets = self.sizes.packets
        found = {
            "plsim.udp": lambda: self.udp(100, self.sizes.udp_packets),
            "plsim.udp-flows": lambda: self.udp(64_512, 4 * self.sizes.udp_packets),
            "plsim.tcp-light": lambda: self.tcp("light"),
            "plsim.tcp-full": lambda: self.tcp("full"),
            "plsim.new": lambda: self.udp(self.sizes.flows[-1], 0),
            "plsim.full": lambda: self.udp(64_512, 0, vms=1),
            "engine.full": lambda: self.engine("full", self.sizes.rounds),
        }
        for way, words in (("snat", []), ("dnat-snat", ["balancer"])):
            for flows in self.sizes.flows:
                found[f"engine.known.{way}.{flows}"] = lambda f=flows, w=words: self.engine(
                    "known", f, packets, *w
                )
                found[f"engine.new.{way}.{flows}"] = lambda f=flows, w=words: self.engine(
                    "new", f, *w
                )
        return found
