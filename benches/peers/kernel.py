"""The Linux kernel: a router with nftables between two network namespaces that are made for it."""

import os
from pathlib import Path

from measure import PROGRAMS, Failed, Missing, call, need

NAME = "Linux"
PREFIX = f"plsim-peers-{os.getpid()}"
ROUTER = f"{PREFIX}-router"
LIMITS = Path("/proc/sys/net/netfilter")
# The router's ports; their counterparts are called eth0. Whatever the router sends on goes to an Ethernet
# address that is nobody's.
MAC, NOBODY = "02:00:00:00:00:01", "02:00:00:00:00:ff"
TOOLS = [("ip", "iproute2"), ("nft", "nftables"), ("sysctl", "procps"), ("cc", "gcc libc6-dev")]
SIDES = {"client": ("192.168.1", "10.1.0.0/16"), "server": ("192.168.2", "10.2.0.0/16")}

SNAT = """
    chain post {
        type nat hook postrouting priority srcnat
        oifname "server0" ip protocol tcp snat to %s:1024-65535
    }
"""
DNAT = """
    chain pre {
        type nat hook prerouting priority dstnat
        ip daddr 10.2.0.100 tcp dport 443 dnat to jhash ip saddr . tcp sport mod 8 map { %s }
    }
"""
ALL, ONE = SNAT % "10.2.0.10-10.2.0.17", SNAT % "10.2.0.10"
BALANCED = ALL + DNAT % ", ".join(f"{vm} : 10.2.1.{vm + 1}" for vm in range(8))


class Peer:
    """The namespaces, the rules, and the program that sends packets through them."""

    def __init__(self, pinned, sizes, folder):
        self.pinned = pinned
        self.sizes = sizes
        self.traffic = folder / "traffic"
        self.limits = {}

    def __enter__(self):
        if os.geteuid() != 0:
            raise Missing("only root may make network namespaces: run it with sudo")
        for program, package in TOOLS:
            need(program, package)
        try:
            call(["cc", "-O2", "-o", self.traffic, PROGRAMS / "traffic.c", PROGRAMS / "flush.c"])
            self.namespaces()
            self.rules(BALANCED)
            self.room()
        except (Failed, OSError) as failed:
            self.__exit__()
            raise Missing(f"no NAT in network namespaces here: {failed}") from None
        return self

    def __exit__(self, *_):
        for side in ("client", "server", "router"):
            if Path(f"/var/run/netns/{PREFIX}-{side}").exists():
                call(["ip", "netns", "delete", f"{PREFIX}-{side}"])
        for name, before in self.limits.items():
            (LIMITS / name).write_text(before)
        self.limits.clear()

    @staticmethod
    def namespaces():
        """Makes client, router and server, joined by veth pairs."""
        for side in ("client", "server", "router"):
            call(["ip", "netns", "add", f"{PREFIX}-{side}"])
            settings = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]
            if Path("/proc/sys/net/ipv6").exists():
                # Without IPv6 nobody sends packets of his own accord.
                settings += ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]
            call(["ip", "netns", "exec", f"{PREFIX}-{side}", "sysctl", "-qw", *settings])
        for side, (network, prefix) in SIDES.items():
            port = f"{side}0"
            outer, router = ["ip", "-n", f"{PREFIX}-{side}"], ["ip", "-n", ROUTER]
            pair = ["type", "veth", "peer", "name", port, "netns", ROUTER, "address", MAC]
            call([*outer, "link", "add", "eth0", *pair])
            call([*outer, "link", "set", "eth0", "up"])
            call([*router, "link", "set", port, "up"])
            call([*router, "address", "add", f"{network}.1/24", "dev", port])
            hop = f"{network}.2"
            call([*router, "neighbour", "add", hop, "lladdr", NOBODY, "dev", port, "nud", "permanent"])
            call([*router, "route", "add", prefix, "via", hop])
        call(["ip", "netns", "exec", ROUTER, "sysctl", "-qw", "net.ipv4.ip_forward=1"])

    @staticmethod
    def rules(chains):
        """Replaces the router's rules; without chains it only forwards, and tracks nothing."""
        table = f"table ip nat {{{chains}}}\n" if chains else ""
        call(["ip", "netns", "exec", ROUTER, "nft", "-f", "-"], f"flush ruleset\n{table}")

    def room(self):
        """Lets the kernel track enough connections, with a bucket for every two of their directions."""
        for name, least in (("nf_conntrack_max", 1 << 21), ("nf_conntrack_buckets", 1 << 20)):
            before = (LIMITS / name).read_text()
            if int(before) < least:
                self.limits[name] = before
                (LIMITS / name).write_text(str(least))

    @staticmethod
    def version():
        """Returns nft's version."""
        return call(["nft", "--version"]).strip()

    def send(self, chains, mode, *numbers):
        """Runs the generator under some rules."""
        self.rules(chains)
        found, _ = self.pinned.run([self.traffic, PREFIX, mode, *numbers])
        return found

    def measures(self):
        """Returns what is measured, by name."""
        packets, ways = self.sizes.packets, {"snat": (ALL, 8), "dnat-snat": (BALANCED, 0)}
        found = {
            "kernel.alone": lambda: self.send("", "alone", packets),
            "kernel.plain": lambda: self.send("", "plain", self.sizes.flows[0], packets, 8),
        }
        for way, (chains, servers) in ways.items():
            for flows in self.sizes.flows:
                found[f"kernel.known.{way}.{flows}"] = lambda c=chains, s=servers, f=flows: self.send(
                    c, "known", f, packets, s
                )
                found[f"kernel.new.{way}.{flows}"] = lambda c=chains, s=servers, f=flows: self.send(
                    c, "new", f, s
                )
        found["kernel.full"] = lambda: self.send(ONE, "full", 64_512)
        return found
