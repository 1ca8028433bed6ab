mod member;

use std::collections::{BTreeMap, VecDeque};

use plsim_types::{Duration, Instant};

use super::config::{NoticeClose, OnConnectFailure, Order, PoolConfig};
use super::stats::Why;
use super::{RETRY_AFTER, later};
use crate::agenda::Agenda;
use crate::client::pool_token;
use crate::config::Close;
use crate::connection::{Asked, Connections, Event, Turn};
use crate::request::{Extra, Request};
use crate::stats::Outcome;
use member::{Member, Operation, State, Task};

/// Bytes of a test and of its answer: a short query and its result.
const TEST: u32 = 64;

/// A pool of connections from one VM, and the requests that borrow them.
#[derive(Debug)]
pub(super) struct Pool {
    config: PoolConfig,
    /// Its number among those of the workload.
    number: u16,
    vm: u16,
    /// The pool's connections by number, the oldest first.
    members: BTreeMap<u64, Member>,
    /// Which one is at a position of a transport.
    by_position: BTreeMap<u32, u64>,
    /// Those that can be lent, the one that has rested longest first.
    idle: VecDeque<u64>,
    /// Requests that wait for a connection, by the time they came.
    waiting: VecDeque<Operation>,
    agenda: Agenda<Task>,
    /// When the first that waits will be given up, as far as a task is set for it.
    watch: Option<Instant>,
    created: u64,
    /// The positions of those that were opened since somebody asked.
    opened: Vec<u32>,
    /// Whether the pool waits before it opens connections that nobody asked for.
    is_refilling: bool,
}

impl Pool {
    pub(super) fn new(config: &PoolConfig, number: u16, vm: u16) -> Self {
        Self {
            config: config.clone(),
            number,
            vm,
            members: BTreeMap::new(),
            by_position: BTreeMap::new(),
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            agenda: Agenda::default(),
            watch: None,
            created: 0,
            opened: Vec::new(),
            is_refilling: false,
        }
    }

    /// Opens the connections that the pool has from the start.
    pub(super) fn start(
        &mut self,
        at: Instant,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        if at > turn.now() {
            self.refill_at(at, turn);
        } else {
            self.fill(all, turn);
        }
    }

    pub(super) fn runs(&self, turn: &Turn<'_, '_>) -> bool {
        turn.group.is_up(self.vm)
    }

    /// Takes the positions of the connections that were opened since the last call.
    pub(super) fn opened(&mut self) -> impl Iterator<Item = u32> {
        self.opened.drain(..)
    }

    /// Opens connections until there are as many as the pool keeps.
    fn fill(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        while !self.is_refilling && self.members.len() < self.config.min_idle as usize {
            self.open(all, turn);
        }
    }

    /// A request arrives.
    pub(super) fn begin(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let operation = Operation {
            began: turn.now(),
            met_dead: false,
        };
        turn.stats.operations.begin();
        turn.stats.pool.borrows += 1;
        turn.stats.pool.waiting += 1;
        self.serve(operation, all, turn);
    }

    pub(super) fn on_timer(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        if !self.runs(turn) {
            return;
        }
        while let Some(task) = self
            .agenda
            .pop(pool_token(turn.traffic.number, self.number), turn.cx)
        {
            match task {
                Task::Waiting => self.give_up(turn),
                Task::Bury(number) => {
                    let is_dead = self
                        .members
                        .get(&number)
                        .is_some_and(|member| matches!(member.state, State::Dead { .. }));
                    if is_dead {
                        self.idle.retain(|&idle| idle != number);
                        self.members.remove(&number);
                        turn.stats.pool.evicted += 1;
                        self.fill(all, turn);
                    }
                }
                Task::Refill => {
                    self.is_refilling = false;
                    self.fill(all, turn);
                    self.open_for_waiting(all, turn);
                }
            }
        }
    }

    pub(super) fn hear(
        &mut self,
        position: u32,
        event: Event,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        let Some(&number) = self.by_position.get(&position) else {
            return;
        };
        match event {
            Event::Opened => self.rest(number, all, turn),
            Event::Responded => self.responded(number, all, turn),
            Event::Woken => self.tend(number, all, turn),
            Event::Message => {}
            Event::Unanswered => {
                self.hang_up(number, all, turn);
                self.died(number, Why::Timeout, all, turn);
            }
            Event::Failed(outcome) => {
                self.by_position.remove(&position);
                self.members.remove(&number);
                match outcome {
                    Outcome::VmDown => self.refill_later(turn),
                    _ => self.could_not_open(turn),
                }
                self.open_for_waiting(all, turn);
            }
            Event::Gone(Outcome::VmDown) => {
                self.by_position.remove(&position);
                self.went_down(number, all, turn);
            }
            Event::Gone(outcome) => {
                self.by_position.remove(&position);
                let why = match outcome {
                    Outcome::TimedOut => Why::Timeout,
                    _ => Why::Reset,
                };
                self.died(number, why, all, turn);
            }
        }
    }

    /// Lends a connection to a request that waits for none yet, or has it wait.
    fn serve(
        &mut self,
        mut operation: Operation,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        if self.is_late(&operation, turn) {
            // Tests of dead connections took all its time.
            return turn.stats.give_up_borrow();
        }
        while let Some(number) = self.next_idle() {
            let member = self.member(number);
            match member.state {
                State::Idle { since } => {
                    let rested = turn.now().since(since);
                    return self.lend(number, operation, Some(rested), all, turn);
                }
                // The test fails at once, or the request does.
                State::Dead { since, ended } => {
                    let rested = turn.now().since(since);
                    let unnoticed = turn.now().since(ended);
                    turn.stats.idle_detection.record(unnoticed);
                    self.members.remove(&number);
                    let is_tested = self.is_to_be_tested(rested);
                    let is_first = !std::mem::replace(&mut operation.met_dead, true);
                    turn.found_dead(rested, is_first, is_tested);
                    if is_tested {
                        turn.stats.pool.validations += 1;
                        turn.stats.pool.validations_failed += 1;
                        continue;
                    }
                    turn.stats.pool.lend(turn.cx.now().since(operation.began));
                    turn.stats.operations.fail(Why::Reset);
                    return self.fill(all, turn);
                }
                State::Connecting | State::Lent { .. } | State::Tested { .. } => {
                    unreachable!("broken invariant: a connection in use is idle")
                }
            }
        }
        self.wait(operation, turn);
        self.open_for_waiting(all, turn);
    }

    fn next_idle(&mut self) -> Option<u64> {
        match self.config.order {
            Order::Lifo => self.idle.pop_back(),
            Order::Fifo => self.idle.pop_front(),
            Order::Oldest => {
                let places = self.idle.iter().enumerate();
                let (place, _) = places.min_by_key(|(_, number)| **number)?;
                self.idle.remove(place)
            }
        }
    }

    fn wait(&mut self, operation: Operation, turn: &mut Turn<'_, '_>) {
        if let Some(due) = self.patience(&operation) {
            self.watch(due, turn);
        }
        let place = self
            .waiting
            .partition_point(|other| other.began <= operation.began);
        self.waiting.insert(place, operation);
    }

    /// Returns when a request has waited long enough, if it ever has.
    fn patience(&self, operation: &Operation) -> Option<Instant> {
        let limits = [self.config.borrow_timeout, self.config.total_timeout];
        let limit = limits.into_iter().flatten().min()?;
        Some(later(operation.began, limit))
    }

    fn is_late(&self, operation: &Operation, turn: &Turn<'_, '_>) -> bool {
        let patience = self.patience(operation);
        patience.is_some_and(|patience| patience <= turn.now())
    }

    fn watch(&mut self, due: Instant, turn: &mut Turn<'_, '_>) {
        if self.watch.is_none_or(|watch| due < watch) {
            self.watch = Some(due);
            let token = pool_token(turn.traffic.number, self.number);
            self.agenda.push(due, Task::Waiting, token, turn.cx);
        }
    }

    /// Gives those up that have waited too long.
    fn give_up(&mut self, turn: &mut Turn<'_, '_>) {
        if self.watch.is_some_and(|watch| watch <= turn.now()) {
            self.watch = None;
        }
        while let Some(first) = self.waiting.front() {
            let Some(due) = self.patience(first) else {
                return;
            };
            if due > turn.now() {
                return self.watch(due, turn);
            }
            self.waiting.pop_front();
            turn.stats.give_up_borrow();
        }
    }

    /// Opens as many connections as requests wait for, if there is room.
    fn open_for_waiting(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let waits = self.config.on_connect_failure == OnConnectFailure::Wait;
        if !self.runs(turn) {
            return self.refill_later(turn);
        }
        while self.members.len() < self.config.size as usize {
            if waits && self.is_refilling {
                return;
            }
            let connecting = self.members.values();
            let connecting = connecting
                .filter(|member| matches!(member.state, State::Connecting))
                .count();
            if connecting >= self.waiting.len() {
                return;
            }
            self.open(all, turn);
        }
    }

    fn open(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        if !self.runs(turn) {
            return self.refill_later(turn);
        }
        let Some(position) = all.open(Some(self.vm), turn) else {
            return self.could_not_open(turn);
        };
        self.opened.push(position);
        let number = self.created;
        self.created += 1;
        let lifetime = self.config.max_lifetime;
        let member = Member {
            position,
            expiry: lifetime.map(|lifetime| later(turn.now(), lifetime)),
            used: turn.now(),
            state: State::Connecting,
        };
        self.members.insert(number, member);
        self.by_position.insert(position, number);
        if let Some(event) = all.poll(position, turn) {
            self.hear(position, event, all, turn);
        }
    }

    /// Tells the request that has waited longest that there is no connection for it, if the pool tells
    /// such things; nothing is opened without a request until a while later.
    fn could_not_open(&mut self, turn: &mut Turn<'_, '_>) {
        let is_told = self.config.on_connect_failure == OnConnectFailure::Fail;
        if is_told && self.waiting.pop_front().is_some() {
            turn.stats.pool.waiting -= 1;
            turn.stats.operations.fail(Why::Connect);
        }
        self.refill_later(turn);
    }

    fn refill_later(&mut self, turn: &mut Turn<'_, '_>) {
        if !self.is_refilling {
            self.refill_at(later(turn.now(), RETRY_AFTER), turn);
        }
    }

    fn refill_at(&mut self, at: Instant, turn: &mut Turn<'_, '_>) {
        self.is_refilling = true;
        let token = pool_token(turn.traffic.number, self.number);
        self.agenda.push(at, Task::Refill, token, turn.cx);
    }

    /// Lends a connection, after a test if one is wanted; it rested for so long, unless it is warm.
    fn lend(
        &mut self,
        number: u64,
        operation: Operation,
        rested: Option<Duration>,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        match rested {
            Some(rested) if self.is_to_be_tested(rested) => {
                self.test(number, Some(operation), rested, all, turn);
            }
            _ => self.give(number, operation, rested, all, turn),
        }
    }

    fn give(
        &mut self,
        number: u64,
        operation: Operation,
        rested: Option<Duration>,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        turn.stats.pool.lend(turn.cx.now().since(operation.began));
        let member = self.member(number);
        member.state = State::Lent { operation, rested };
        let position = member.position;
        let mut asked = turn.traffic.draw_request(false);
        if let Some(total) = self.config.total_timeout {
            let left = later(operation.began, total).since(turn.now());
            let left = left.max(Duration::from_nanos(1));
            asked.timeout = Some(asked.timeout.map_or(left, |timeout| timeout.min(left)));
        }
        asked.after_silence = rested.is_some_and(|rested| turn.traffic.is_silence(rested));
        all.ask(position, asked, turn);
    }

    fn test(
        &mut self,
        number: u64,
        operation: Option<Operation>,
        rested: Duration,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        turn.stats.pool.validations += 1;
        let member = self.member(number);
        member.state = State::Tested { operation, rested };
        let position = member.position;
        let asked = Asked {
            request: Request {
                request: TEST,
                response: TEST,
                extra: Extra::default(),
            },
            timeout: Some(self.config.validation.timeout),
            is_awaited: true,
            after_silence: turn.traffic.is_silence(rested),
        };
        all.ask(position, asked, turn);
    }

    fn is_to_be_tested(&self, rested: Duration) -> bool {
        let after = self.config.validation.after_idle;
        after.is_some_and(|after| rested >= after)
    }

    fn responded(&mut self, number: u64, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        match self.member(number).state {
            State::Lent { operation, rested } => {
                let took = turn.cx.now().since(operation.began);
                turn.stats.operations.succeed(took);
                self.member(number).used = turn.now();
                if let Some(rested) = rested {
                    turn.stats.pool.rested_alive.record(rested);
                }
                self.rest(number, all, turn);
            }
            State::Tested { operation, rested } => {
                turn.stats.pool.rested_alive.record(rested);
                match operation {
                    Some(operation) => self.give(number, operation, None, all, turn),
                    None => self.rest(number, all, turn),
                }
            }
            State::Connecting | State::Idle { .. } | State::Dead { .. } => {}
        }
    }

    /// Takes a connection that can be lent: to who waits longest, or to rest.
    fn rest(&mut self, number: u64, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        if self.member(number).is_expired(now) {
            turn.stats.pool.retired += 1;
            return self.dismiss(number, all, turn);
        }
        if let Some(operation) = self.waiting.pop_front() {
            return self.lend(number, operation, None, all, turn);
        }
        self.member(number).state = State::Idle { since: now };
        self.idle.push_back(number);
        self.wake(number, now, all, turn);
    }

    /// Has the pool look at an idle connection when there is something to do for it.
    fn wake(
        &mut self,
        number: u64,
        since: Instant,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        let config = &self.config;
        let member = &self.members[&number];
        let dues = [
            config.keepalive_time.map(|time| since + time),
            config.max_idle.map(|most| member.used + most),
            member.expiry,
        ];
        let dues = dues.into_iter().flatten();
        if let Some(due) = dues.filter(|due| *due > turn.now()).min() {
            all.wake(member.position, due, turn);
        }
    }

    /// Closes an idle connection for its rest or its age, or keeps it alive.
    fn tend(&mut self, number: u64, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        let member = self.member(number);
        let State::Idle { since } = member.state else {
            return;
        };
        let is_expired = member.is_expired(now);
        let unused = now.since(member.used);
        let is_unused = self.config.max_idle.is_some_and(|most| unused >= most);
        let is_spare = self.members.len() > self.config.min_idle as usize;
        let keepalive = self.config.keepalive_time;
        let is_stale = keepalive.is_some_and(|time| now.since(since) >= time);
        if is_expired || (is_unused && is_spare) {
            self.idle.retain(|&idle| idle != number);
            match is_expired {
                true => turn.stats.pool.retired += 1,
                false => turn.stats.pool.evicted += 1,
            }
            self.dismiss(number, all, turn);
        } else if is_stale {
            self.idle.retain(|&idle| idle != number);
            self.test(number, None, now.since(since), all, turn);
        } else {
            self.wake(number, since, all, turn);
        }
    }

    /// Closes a connection in good order.
    fn dismiss(&mut self, number: u64, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        self.hang_up(number, all, turn);
        self.members.remove(&number);
        self.fill(all, turn);
        self.open_for_waiting(all, turn);
    }

    /// Closes a connection; the pool has still to forget it.
    fn hang_up(&mut self, number: u64, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let position = self.member(number).position;
        self.by_position.remove(&position);
        let how = match turn.traffic.close {
            Close::Rst => Close::Rst,
            Close::Fin | Close::Abandon | Close::Server => Close::Fin,
        };
        all.close(position, how, turn);
    }

    /// Draws the consequences of the end of a connection that was open.
    fn died(&mut self, number: u64, why: Why, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        let state = self.member(number).state;
        match state {
            State::Idle { since } if self.config.notice_close == NoticeClose::OnBorrow => {
                let max_idle = self.config.max_idle;
                let member = self.member(number);
                member.state = State::Dead { since, ended: now };
                let unused = max_idle.map(|most| member.used + most);
                if let Some(due) = unused.into_iter().chain(member.expiry).min() {
                    let token = pool_token(turn.traffic.number, self.number);
                    let due = later(now, due.since(now));
                    self.agenda.push(due, Task::Bury(number), token, turn.cx);
                }
                return;
            }
            State::Lent { operation, rested } => {
                if let Some(rested) = rested {
                    turn.found_dead(rested, !operation.met_dead, false);
                }
                turn.stats.operations.fail(why);
            }
            State::Tested { operation, rested } => {
                turn.stats.pool.validations_failed += 1;
                if let Some(mut operation) = operation {
                    let is_first = !std::mem::replace(&mut operation.met_dead, true);
                    turn.found_dead(rested, is_first, true);
                    self.members.remove(&number);
                    self.serve(operation, all, turn);
                }
            }
            State::Connecting | State::Idle { .. } | State::Dead { .. } => {}
        }
        self.idle.retain(|&idle| idle != number);
        self.members.remove(&number);
        self.fill(all, turn);
        self.open_for_waiting(all, turn);
    }

    /// Forgets a connection whose VM went down. Whoever was to get it waits for another one.
    fn went_down(&mut self, number: u64, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let state = self.member(number).state;
        match state {
            State::Lent { .. } => turn.stats.operations.fail(Why::Reset),
            State::Tested {
                operation: Some(operation),
                ..
            } if self.is_late(&operation, turn) => turn.stats.give_up_borrow(),
            State::Tested {
                operation: Some(operation),
                ..
            } => self.wait(operation, turn),
            _ => {}
        }
        self.idle.retain(|&idle| idle != number);
        self.members.remove(&number);
        self.fill(all, turn);
        self.open_for_waiting(all, turn);
    }

    fn member(&mut self, number: u64) -> &mut Member {
        let member = self.members.get_mut(&number);
        member.expect("broken invariant: a connection of the pool is unknown to it")
    }
}
