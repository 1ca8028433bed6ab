use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A client as it comes: the defaults of its documentation fill the keys of a workload that are not
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// psql and whatever uses libpq: one connection, keepalives as the operating system has them.
    Libpq,
    /// .NET's driver of PostgreSQL with its own pool.
    Npgsql,
    /// Java: HikariCP, a release after 6.0, over the PostgreSQL JDBC driver. Up to 6.0 it sent no keepalives:
    /// keepalive_time = "0s" in `pool`.
    PgjdbcHikari,
    /// PgBouncer's connections to its servers.
    Pgbouncer,
    /// The Kafka client in C, and what is built on it: a connection to each broker.
    Librdkafka,
    /// A producer of Apache Kafka's own client (Java): a client for each connection to a broker.
    KafkaProducer,
    /// .NET's HttpClient over SocketsHttpHandler, .NET 6 or later.
    DotnetHttpclient,
    /// Go's net/http with its DefaultTransport.
    GoNetHttp,
    /// Node.js 19 or later with the global agent of its http module.
    NodeHttp,
    /// The curl command: a connection for each call.
    Curl,
}

impl Profile {
    /// Returns the keys of a workload with the defaults of this client.
    pub(crate) const fn keys(self) -> &'static str {
        match self {
            // keepalives = 1, keepalives_idle = 0: those of the system, Linux's here (KERN).
            Self::Libpq => "keepalive = \"linux\"\n",
            Self::Npgsql => {
                "model = \"pool\"\n\
                 connect_timeout = \"15s\"\n\
                 response_timeout = \"30s\"\n\
                 pool.size = 100\n\
                 pool.min_idle = 0\n\
                 pool.max_idle = \"300s\"\n\
                 pool.borrow_timeout = \"15s\"\n\
                 pool.on_connect_failure = \"fail\"\n\
                 pool.order = \"fifo\"\n"
            }
            Self::PgjdbcHikari => {
                "model = \"pool\"\n\
                 connect_timeout = \"10s\"\n\
                 pool.size = 10\n\
                 pool.min_idle = 10\n\
                 pool.max_idle = \"10min\"\n\
                 pool.max_lifetime = \"30min\"\n\
                 pool.validation = true\n\
                 pool.validate_after_idle = \"500ms\"\n\
                 pool.validation_timeout = \"5s\"\n\
                 pool.keepalive_time = \"2min\"\n\
                 pool.borrow_timeout = \"30s\"\n\
                 pool.on_connect_failure = \"wait\"\n\
                 pool.order = \"oldest\"\n"
            }
            Self::Pgbouncer => {
                "model = \"pool\"\n\
                 keepalive = \"linux\"\n\
                 connect_timeout = \"15s\"\n\
                 pool.size = 20\n\
                 pool.min_idle = 0\n\
                 pool.max_idle = \"600s\"\n\
                 pool.max_lifetime = \"3600s\"\n\
                 pool.validation = true\n\
                 pool.validate_after_idle = \"30s\"\n\
                 pool.borrow_timeout = \"120s\"\n\
                 pool.on_connect_failure = \"wait\"\n\
                 pool.order = \"lifo\"\n\
                 pool.notice_close = \"at-once\"\n"
            }
            Self::Librdkafka => {
                "model = \"constant-concurrency\"\n\
                 connect_timeout = \"30s\"\n\
                 response_timeout = \"60s\"\n\
                 reconnect_delay = \"100ms\"\n"
            }
            // delivery.timeout.ms is 120 s: four attempts of 30 s.
            Self::KafkaProducer => {
                "model = \"closed-loop\"\n\
                 keepalive = \"linux\"\n\
                 connect_timeout = \"10s\"\n\
                 response_timeout = \"30s\"\n\
                 retry.max_attempts = 4\n\
                 retry.backoff = \"100ms\"\n\
                 retry.backoff_max = \"1s\"\n\
                 retry.jitter = \"equal\"\n"
            }
            Self::DotnetHttpclient => {
                "model = \"pool\"\n\
                 pool.size = 100000\n\
                 pool.max_idle = \"60s\"\n\
                 pool.borrow_timeout = \"0s\"\n\
                 pool.total_timeout = \"100s\"\n\
                 pool.on_connect_failure = \"fail\"\n\
                 pool.notice_close = \"at-once\"\n"
            }
            Self::GoNetHttp => {
                "model = \"pool\"\n\
                 keepalive = \"30s\"\n\
                 connect_timeout = \"30s\"\n\
                 pool.size = 100000\n\
                 pool.max_idle = \"90s\"\n\
                 pool.borrow_timeout = \"0s\"\n\
                 pool.on_connect_failure = \"fail\"\n\
                 pool.notice_close = \"at-once\"\n"
            }
            Self::NodeHttp => {
                "model = \"pool\"\n\
                 pool.size = 100000\n\
                 pool.max_idle = \"5s\"\n\
                 pool.borrow_timeout = \"0s\"\n\
                 pool.on_connect_failure = \"fail\"\n\
                 pool.order = \"lifo\"\n\
                 pool.notice_close = \"at-once\"\n"
            }
            Self::Curl => {
                "keepalive = \"60s\"\n\
                 connect_timeout = \"300s\"\n"
            }
        }
    }
}
