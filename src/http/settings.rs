//! Settings of the HTTP floor.

use std::time::Duration;

use ipnet::IpNet;

use crate::ground::Mode;

/// So many requests in so long: a bucket of that size, refilled steadily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many requests.
    pub requests: u32,
    /// In how long.
    pub window: Duration,
}

/// How this process speaks HTTP.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where clients reach this service, without a trailing slash.
    pub public_url: String,
    /// Stamped on every answer.
    pub mode: Mode,
    /// The largest body that is read.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request's head may take to arrive.
    pub head_timeout: Duration,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// How long requests may run on after a stop.
    pub shutdown_timeout: Duration,
    /// What a key that has authenticated may send; `None` is no bound.
    pub rate_per_key: Option<Quota>,
    /// What an address may send without such a key; `None` is no bound.
    pub rate_per_address: Option<Quota>,
    /// How many keys and addresses are remembered for that.
    pub rate_entries_max: usize,
    /// Paths that no bound on rates or requests in flight applies to; one that ends in a slash
    /// stands for all below it. Probes are among them, because an overloaded process that looks
    /// dead is restarted; and whatever this service asks of itself while it answers a request.
    pub unbounded_paths: Vec<String>,
    /// Networks of the proxies whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// How many requests are worked on at once, in the whole process.
    pub in_flight_max: usize,
    /// How many connections each worker holds.
    pub connections_max: usize,
    /// Worker threads; `None` is one per core.
    pub workers: Option<usize>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            public_url: "http://127.0.0.1:8402".to_owned(),
            mode: Mode::Test,
            body_bytes_max: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(75),
            shutdown_timeout: Duration::from_secs(30),
            rate_per_key: Some(Quota { requests: 6_000, window: minute }),
            rate_per_address: Some(Quota { requests: 600, window: minute }),
            rate_entries_max: 100_000,
            unbounded_paths: ["/healthz", "/readyz", "/metrics", "/sandbox/facilitator/"]
                .map(str::to_owned)
                .into(),
            trusted_proxies: Vec::new(),
            in_flight_max: 1_024,
            connections_max: 4_096,
            workers: None,
        }
    }
}

impl HttpSettings {
    /// Whether a path is free of the bounds.
    pub(in crate::http) fn is_unbounded(&self, path: &str) -> bool {
        self.unbounded_paths.iter().any(|free| match free.ends_with('/') {
            true => path.starts_with(free.as_str()),
            false => path == free,
        })
    }
}
