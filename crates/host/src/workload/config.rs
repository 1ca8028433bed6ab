use plsim_sim::Distribution;
use plsim_types::Duration;

/// What drives the connections of a workload.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Connections arrive whatever becomes of those before them.
    OpenLoop,
    /// As many connections as arrive are held: where one ends, another one starts.
    ConstantConcurrency {
        /// The time from the end of one to the start of the next; at least 1 s where none could be
        /// established, so that a refusal is no loop.
        reconnect_delay: Duration,
    },
    /// Clients arrive, and each goes on for ever: think, ask, wait for the response.
    ClosedLoop(ClosedLoopConfig),
    /// Requests arrive, and borrow connections of a pool.
    Pool(PoolConfig),
    /// As many subscribers as arrive stay connected (TCP).
    PubSub {
        /// The subject that they subscribe to, of which the server sends the news; `None` means that
        /// they send messages themselves, at the `interval` of their session.
        subject: Option<u16>,
        /// The time from the end of a connection to the next one.
        reconnect_delay: Duration,
    },
    /// Flows arrive, and each sends a packet at each `interval` until its `hold` is over (UDP).
    UdpStream {
        /// Whether the server sends each back.
        echo: bool,
    },
}

/// Clients that ask, wait, and think before they ask again.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedLoopConfig {
    /// The time from the end of one operation to the start of the next, in nanoseconds.
    pub think_time: Distribution,
    /// Whether a client keeps its connection.
    pub keeping: Keeping,
    /// What a client does when an attempt fails.
    pub retry: Retry,
}

/// Whether a client keeps its connection from one request to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keeping {
    /// It does, as long as it can.
    #[default]
    Keep,
    /// Each request has its own.
    PerRequest,
}

/// How often, and when, a failed attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, above zero.
    pub max_attempts: u32,
    /// The wait before the second attempt; it doubles each time.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// What chance does to the wait.
    pub jitter: Jitter,
}

/// What chance does to the wait before a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Nothing: clients that failed together come back together.
    None,
    /// Half of it is certain, the rest is drawn evenly.
    Equal,
    /// All of it is drawn evenly, from nothing to the whole.
    #[default]
    Full,
}

/// A pool of connections that requests borrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// How many there are on each VM, above zero; a request is given to one of them.
    pub per_vm: u16,
    /// The most connections, above zero.
    pub size: u32,
    /// How many are opened at the start, and kept when idle ones are closed.
    pub min_idle: u32,
    /// How long a connection may rest unused before the pool closes it.
    pub max_idle: Option<Duration>,
    /// How old a connection may become; it ends when it is unused.
    pub max_lifetime: Option<Duration>,
    /// How and when a connection is tested.
    pub validation: Validation,
    /// How long a connection may rest before the pool tests it, to keep it alive.
    pub keepalive_time: Option<Duration>,
    /// How long a request waits for a connection; `None` means for ever.
    pub borrow_timeout: Option<Duration>,
    /// How long a request may take in all, from its arrival to its response.
    pub total_timeout: Option<Duration>,
    /// What becomes of requests when a connection cannot be opened.
    pub on_connect_failure: OnConnectFailure,
    /// Which of the idle connections is lent first.
    pub order: Order,
    /// When the pool notices that an idle connection was closed or reset.
    pub notice_close: NoticeClose,
}

/// A test of a pool's connection: a small request and its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validation {
    /// How long the response may take.
    pub timeout: Duration,
    /// How long a connection must have rested to be tested when it is lent; `None` means never.
    pub after_idle: Option<Duration>,
}

/// Which idle connection is lent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The one used last.
    #[default]
    Lifo,
    /// The one that has rested longest.
    Fifo,
    /// The one that was opened first.
    Oldest,
}

/// What becomes of the requests that wait when a pool cannot open a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConnectFailure {
    /// They go on waiting; the pool tries again after 1 s.
    #[default]
    Wait,
    /// The one that has waited longest fails at once.
    Fail,
}

/// When a pool notices the end of an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoticeClose {
    /// When it is used: nobody reads from it meanwhile.
    #[default]
    OnBorrow,
    /// At once: somebody reads from it all the time.
    AtOnce,
}
