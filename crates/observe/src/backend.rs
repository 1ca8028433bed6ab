use serde_json::Value;

use crate::summary::object;

/// One backend VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSummary {
    /// Its name.
    pub name: String,
    /// Active flows of its NAT at the end.
    pub flows: u64,
    /// The most of them at any instant.
    pub peak: u64,
    /// The most bindings of its NAT at any instant: active flows, and those that are held down.
    pub bindings_peak: u64,
    /// Flows that came to it through its NAT.
    pub new_flows: u64,
    /// Flows that came to it without Private Link: their clients dialled a frontend.
    pub frontend_flows: u64,
    /// Connections among them that the load balancer has dropped because they were idle.
    pub frontend_lb_idle: u64,
    /// Requests that its application answered.
    pub requests: u64,
    /// Messages that it sent to subscribers.
    pub messages: u64,
    /// Why requests failed at its application.
    pub failed_by: RequestFailedBy,
    /// Connections that it had closed first and remembers at the end (TIME_WAIT).
    pub time_wait: u64,
    /// Connections that wait at the end until its application accepts them.
    pub waiting: u64,
    /// SYNs dropped because as many handshakes were under way as the backlog allows.
    pub syn_queue_overflows: u64,
    /// Handshakes of which it kept nothing, because so many were under way.
    pub syn_cookies: SynCookies,
    /// SYNs and last ACKs dropped because too many connections waited for the application.
    pub accept_queue_overflows: u64,
    /// PROXY headers that were sent to it, repetitions included.
    pub proxy_headers: u64,
    /// Segments whose PROXY header had to wait for the VM's window.
    pub proxy_withheld: u64,
    /// ICMP errors by which its NAT told clients that their new flows were refused.
    pub icmp_answers: u64,
    /// Refusals of which they were not told because there were too many (`icmp_rate`).
    pub icmp_suppressed: u64,
}

/// SYN cookies of a backend VM (RFC 4987 §3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SynCookies {
    /// SYNs answered with a cookie.
    pub sent: u64,
    /// Cookies that came back and made a connection.
    pub accepted: u64,
    /// Segments of no connection that brought none, or an old one, while some were expected.
    pub failed: u64,
}

/// Requests that failed at a backend's application, by cause: it resets their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestFailedBy {
    /// There was a PROXY header, which the application does not know (PP-5).
    pub proxy_unexpected: u64,
    /// There was no PROXY header, which the application wants (PP-6).
    pub proxy_missing: u64,
    /// The request was garbage.
    pub unreadable: u64,
}

impl BackendSummary {
    pub(crate) fn to_value(&self) -> Value {
        let failed_by = object([
            ("proxy_unexpected", self.failed_by.proxy_unexpected.into()),
            ("proxy_missing", self.failed_by.proxy_missing.into()),
            ("unreadable", self.failed_by.unreadable.into()),
        ]);
        let cookies = object([
            ("sent", self.syn_cookies.sent.into()),
            ("accepted", self.syn_cookies.accepted.into()),
            ("failed", self.syn_cookies.failed.into()),
        ]);
        object([
            ("name", self.name.as_str().into()),
            ("flows", self.flows.into()),
            ("peak", self.peak.into()),
            ("bindings_peak", self.bindings_peak.into()),
            ("new_flows", self.new_flows.into()),
            ("frontend_flows", self.frontend_flows.into()),
            ("frontend_lb_idle", self.frontend_lb_idle.into()),
            ("requests", self.requests.into()),
            ("messages", self.messages.into()),
            ("failed_by", failed_by),
            ("time_wait", self.time_wait.into()),
            ("waiting", self.waiting.into()),
            ("syn_queue_overflows", self.syn_queue_overflows.into()),
            ("syn_cookies", cookies),
            ("accept_queue_overflows", self.accept_queue_overflows.into()),
            ("proxy_headers", self.proxy_headers.into()),
            ("proxy_withheld", self.proxy_withheld.into()),
            ("icmp_answers", self.icmp_answers.into()),
            ("icmp_suppressed", self.icmp_suppressed.into()),
        ])
    }
}
