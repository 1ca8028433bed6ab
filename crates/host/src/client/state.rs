use plsim_sim::Context;

use super::{ClientVms, turn};
use crate::connection::Connections;
use crate::workload::Application;

/// How a client VM ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Without a word: power is cut, or the host fails.
    Crash,
    /// Its operating system resets the connections first.
    Stop,
}

impl ClientVms {
    /// Has a VM end without a word: its connections are gone, and whoever talks to it is not told.
    ///
    /// What works on all VMs of the group goes on with those that are left; where none is, it stands
    /// still until one runs again, and what would start meanwhile does not. Returns how many
    /// connections the VM had, those in TIME_WAIT included. Nothing happens to a VM that is down.
    ///
    /// # Panics
    /// If the group has no such VM.
    pub fn crash(&mut self, vm: u16, cx: &mut Context<'_>) -> u64 {
        self.halt(vm, End::Crash, cx)
    }

    /// Shuts a VM down: as [`ClientVms::crash`], but its connections are reset first.
    ///
    /// # Panics
    /// If the group has no such VM.
    pub fn stop(&mut self, vm: u16, cx: &mut Context<'_>) -> u64 {
        self.halt(vm, End::Stop, cx)
    }

    /// Has a VM that is down run again. It knows nothing of before; its ports begin elsewhere.
    ///
    /// # Panics
    /// If the group has no such VM.
    pub fn boot(&mut self, vm: u16, cx: &mut Context<'_>) {
        if !self.group.down.remove(&vm) {
            return;
        }
        let address = *self.group.socket(vm, 0).ip();
        match &mut self.full {
            Some(full) => full.slots.boot(vm, address),
            None => self.tcp.slots.boot(vm, address),
        }
        self.udp.slots.boot(vm, address);
        for at in 0..self.workloads.len() {
            self.run(at, cx, Application::resume);
        }
    }

    fn halt(&mut self, vm: u16, end: End, cx: &mut Context<'_>) -> u64 {
        assert!(self.group.has(vm), "a group has no more VMs than addresses");
        if !self.group.down.insert(vm) {
            return 0;
        }
        let tcp: (&mut dyn Connections, Vec<u32>) = match &mut self.full {
            Some(full) => {
                let own = full.slots.halt(vm);
                (full, own)
            }
            None => {
                let own = self.tcp.slots.halt(vm);
                (&mut self.tcp, own)
            }
        };
        let udp = self.udp.slots.halt(vm);
        let all: [(&mut dyn Connections, Vec<u32>); 2] = [tcp, (&mut self.udp, udp)];
        let mut count = 0;
        for (all, positions) in all {
            for position in positions {
                let at = all.workload(position, &self.group);
                let (workload, stats) = (&mut self.workloads[at], &mut self.stats[at]);
                let (mut turn, application) = turn(&self.group, workload, stats, cx);
                count += 1;
                if let Some(event) = all.lose(position, end, &mut turn) {
                    application.follow(position, Some(event), all, &mut turn);
                }
            }
        }
        count
    }
}
