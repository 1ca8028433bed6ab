//! What sets the presets apart, in flows.

use crate::harness::{ACK, BACKEND, Nat, PLS, SECOND, SYN, SYN_ACK, client, endpoint, nat_ip};
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{NatConfig, NatError, NatEvent, NatPreset, Original, PoolConfig, Reply};
use plsim_types::{LinkId, Protocol, TcpFlags, TcpSegment};

fn nat(preset: NatPreset, nat_ips: u8) -> Nat {
    Nat::new(NatConfig {
        backend: BACKEND,
        seed: 1,
        flow_limit: None,
        table_limit: None,
        pools: vec![PoolConfig::preset(
            preset,
            PLS,
            (0..nat_ips).map(nat_ip).collect(),
        )],
        events: false,
    })
}

fn datagram(
    nat: &mut Nat,
    link: u32,
    client: SocketAddrV4,
    backend_port: u16,
) -> Result<SocketAddrV4, NatError> {
    let packet = Original {
        pls: PLS,
        link: LinkId(link),
        client,
        endpoint: endpoint(),
        backend_port,
        protocol: Protocol::Udp,
        segment: None,
    };
    let now = nat.instant();
    nat.engine.original(&packet, now).map(|to| to.source)
}

/// How many flows of clients one after the other get a port.
fn room(nat: &mut Nat, backend_port: u16, most: u32) -> u32 {
    let bound = (0..most).take_while(|&n| datagram(nat, 1, client(n), backend_port).is_ok());
    bound.count() as u32
}

/// AWS-NGW, AWS-NLB.
#[test]
fn aws_counts_55_000_flows_for_each_port_of_a_target() {
    for preset in [NatPreset::AwsNatGateway, NatPreset::AwsPrivateLink] {
        let mut nat = nat(preset, 1);
        assert_eq!(room(&mut nat, 443, 60_000), 55_000);
        assert_eq!(room(&mut nat, 8_443, 60_000), 55_000);
    }
}

/// DP-1.
#[test]
fn azure_counts_its_ports_for_the_whole_vm() {
    let mut nat = nat(NatPreset::Azure, 1);
    assert_eq!(room(&mut nat, 443, 70_000), 64_512);
    assert_eq!(room(&mut nat, 8_443, 1), 0);
}

/// GCP-PORTS.
#[test]
fn google_gives_a_vm_64_ports_that_serve_each_destination_and_no_other_nat_ip() {
    let mut nat = nat(NatPreset::GcpCloudNat, 4);
    let vm = |port| SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), port);
    for backend_port in [443, 8_443] {
        let bound: Vec<_> = (0..64)
            .map(|n| datagram(&mut nat, 1, vm(1_024 + n), backend_port).unwrap())
            .collect();
        assert!(bound.iter().all(|to| to.ip() == bound[0].ip()));
        assert_eq!(
            datagram(&mut nat, 1, vm(2_000), backend_port),
            Err(NatError::PortsExhausted)
        );
    }
    assert!(datagram(&mut nat, 2, vm(2_000), 443).is_ok());
    let neighbour = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 5), 2_000);
    assert!(datagram(&mut nat, 1, neighbour, 443).is_ok());
}

/// GCP-DPA.
#[test]
fn google_doubles_the_32_ports_of_a_vm_while_it_needs_more() {
    let mut nat = nat(NatPreset::GcpCloudNatDynamic, 1);
    let vm = |number: u32| SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 1_024 + number as u16);
    let mut bound = 0;
    let mut fill = |nat: &mut Nat| {
        while datagram(nat, 1, vm(bound), 443).is_ok() {
            bound += 1;
        }
        bound
    };
    let mut wakes = Vec::new();
    for ports in [32, 64, 128, 256] {
        assert_eq!(fill(&mut nat), ports);
        let reserved = nat.usage(Protocol::Udp)[0].reserved;
        assert_eq!((reserved.ports, reserved.peak), (ports, ports));
        let soon = nat.engine.poll_timeout().unwrap();
        wakes.push(soon.since(nat.instant()).as_nanos());
        nat.after(SECOND).timeout();
    }
    assert_eq!(wakes, [SECOND; 4], "the engine asks to be called then");
    // The flows idle out after 30 s; then half of the ports go each minute.
    nat.after(29 * SECOND).timeout();
    let mut left = Vec::new();
    for _ in 0..5 {
        left.push(nat.usage(Protocol::Udp)[0].reserved.ports);
        nat.after(60 * SECOND).timeout();
    }
    assert_eq!(left, [512, 256, 128, 64, 32]);
    let reserved = nat.usage(Protocol::Udp)[0].reserved;
    assert_eq!((reserved.doublings, reserved.halvings), (4, 4));
    assert_eq!(nat.engine.poll_timeout(), None);
    let told = std::iter::from_fn(|| nat.engine.poll_event()).map(|event| {
        let NatEvent::ShareChanged {
            at,
            pls,
            nat_ip: own,
            protocol,
            backend_port,
            client,
            from,
            to,
        } = event
        else {
            panic!("{event:?}")
        };
        assert_eq!((pls, own, protocol), (PLS, nat_ip(0), Protocol::Udp));
        assert_eq!(backend_port, Some(443));
        assert_eq!(client, (LinkId(1), *vm(0).ip()));
        (at.as_nanos() / SECOND, from, to)
    });
    let shares = [32, 64, 128, 256, 512];
    let up = (0..4).map(|step| (step as u64 + 1, shares[step], shares[step + 1]));
    let down = (0..4).map(|step| (92 + 60 * step as u64, shares[4 - step], shares[3 - step]));
    assert_eq!(Vec::from_iter(told), Vec::from_iter(up.chain(down)));
}

#[test]
fn a_search_needs_no_timeout_to_find_a_reservation_that_has_grown() {
    let mut nat = nat(NatPreset::GcpCloudNatDynamic, 1);
    let vm = |port| SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), port);
    for number in 0..32 {
        datagram(&mut nat, 1, vm(1_024 + number), 443).unwrap();
    }
    nat.after(SECOND - 1);
    let refused = datagram(&mut nat, 1, vm(2_000), 443);
    assert_eq!(refused, Err(NatError::PortsExhausted));
    nat.after(1);
    assert!(datagram(&mut nat, 1, vm(2_000), 443).is_ok());
}

/// KERN.
#[test]
fn linux_keeps_a_clients_nat_ip_and_the_port_that_nobody_has() {
    let mut nat = nat(NatPreset::LinuxNfNat, 8);
    let vm = |port| SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), port);
    let first = datagram(&mut nat, 1, vm(40_000), 443).unwrap();
    assert_eq!(first.port(), 40_000);
    for port in 40_001..40_200 {
        let next = datagram(&mut nat, 1, vm(port), 443).unwrap();
        assert_eq!(next, SocketAddrV4::new(*first.ip(), port));
    }
}

/// Opens a connection, lets it idle out one way or the other, and tells whether the NAT says
/// so by itself and whether it answers who speaks on.
fn told(preset: NatPreset) -> (bool, bool) {
    let mut nat = nat(preset, 1);
    let segment = |flags: TcpFlags, sequence, acknowledgement| TcpSegment {
        flags,
        sequence,
        acknowledgement,
        window: 1_000,
        length: 0,
    };
    let to = nat.send(0, segment(SYN, 99, 0)).unwrap();
    let answer = Reply {
        source: to.destination,
        destination: to.source,
        protocol: Protocol::Tcp,
        segment: Some(segment(SYN_ACK, 999, 100)),
    };
    let now = nat.instant();
    nat.engine.reply(&answer, now).unwrap();
    nat.send(0, segment(ACK, 100, 1_000)).unwrap();
    let idle = preset.timers().established_idle.as_nanos();
    assert_eq!(idle % SECOND, 0);
    nat.after(idle - 1).timeout();
    assert_eq!(nat.engine.active_flows(), 1);
    nat.after(1).timeout();
    assert_eq!(nat.engine.active_flows(), 0);
    let at_once = core::iter::from_fn(|| nat.engine.poll_reset()).count() > 0;
    assert_eq!(nat.send(0, segment(ACK, 100, 1_000)), Err(NatError::NoFlow));
    (at_once, nat.engine.poll_reset().is_some())
}

/// AWS-NGW, AWS-NLB: a RST for who goes on. For Azure: I#94724.
#[test]
fn only_azure_tells_both_ends_and_only_aws_answers_who_speaks_on() {
    assert_eq!(told(NatPreset::Azure), (true, false));
    assert_eq!(told(NatPreset::AwsNatGateway), (false, true));
    assert_eq!(told(NatPreset::AwsPrivateLink), (false, true));
    assert_eq!(told(NatPreset::GcpCloudNat), (false, false));
    assert_eq!(told(NatPreset::GcpCloudNatDynamic), (false, false));
    assert_eq!(told(NatPreset::LinuxNfNat), (false, false));
}
