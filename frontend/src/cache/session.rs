//! The thread that keeps the cache's lease alive: it registers a session with the catalog, renews
//! its lease, and registers a new one when the catalog has forgotten it.

use crate::cache::shared::SharedCache;
use common::clock::BootInstant;
use common::http::client::{Call, CallError, HttpClient};
use common::secret;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{KEEP_ALIVE, LEASE};
use common::wire::catalog::{KeepAliveRequest, LeaseAnswer, RegisterRequest, SessionId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A registration takes a probe push back to this front-end; one that takes as long as its lease is
/// of no use.
const REGISTER_TIMEOUT: Duration = LEASE;
/// A renewal that takes longer is sent again while the lease still runs.
const RENEW_TIMEOUT: Duration = KEEP_ALIVE;

pub struct SessionConfig {
    /// Base URL of the catalog.
    pub catalog_url: String,
    /// Under which the catalog reaches this front-end.
    pub own_url: String,
    /// Shown to the catalog, where there is one.
    pub token: Option<String>,
    /// The cache.
    pub cache: Arc<SharedCache>,
    /// The service's stop.
    pub stop: Shutdown,
}

/// Starts the thread. The service's stop ends it.
#[must_use]
pub fn start(config: SessionConfig) -> Thread {
    let client = HttpClient::new(1, config.token.as_deref());
    Thread::spawn("session", move || {
        SessionKeeper {
            config,
            client,
            complained: false,
        }
        .run()
    })
}

struct SessionKeeper {
    config: SessionConfig,
    client: HttpClient,
    /// Whether the log has a line that there is no session: one is enough, not four a second.
    complained: bool,
}

impl SessionKeeper {
    fn run(mut self) {
        let mut session = None;
        while !self.config.stop.is_triggered() {
            // The pace counts from the start of a call: a slow one must not cost lease time.
            let began = Instant::now();
            session = match session.take() {
                None => self.register(),
                Some(session) => self.renew(session),
            };
            // A lost session is replaced at once; a registration that failed is tried
            // again at the usual pace.
            let lost = session.is_none() && !self.complained;
            if !lost
                && self
                    .config
                    .stop
                    .wait(KEEP_ALIVE.saturating_sub(began.elapsed()))
            {
                return;
            }
        }
    }

    fn register(&mut self) -> Option<SessionId> {
        let session = SessionId(secret::hex(16));
        // Pending before it is sent: the catalog's probe push comes before its reply.
        self.config.cache.begin_session(&session);
        let request = RegisterRequest {
            session: session.clone(),
            url: self.config.own_url.clone(),
        };
        // From before the request leaves: so the lease ends here before it ends at the catalog.
        let asked = BootInstant::now();
        match self.post::<_, LeaseAnswer>("/sessions/register", REGISTER_TIMEOUT, &request) {
            Ok(answer) => {
                let lease_end = asked + Duration::from_millis(answer.lease_ms);
                if !self.config.cache.install_session(&session, lease_end) {
                    // The end was pushed before this reply came: the catalog grants no other one
                    // before it is mended, so the usual pace will do.
                    self.complained = true;
                    return None;
                }
                self.complained = false;
                tracing::info!(
                    session = %session, lease_ms = answer.lease_ms,
                    "cache session registered"
                );
                Some(session)
            }
            Err(error) => {
                if !self.complained {
                    tracing::warn!(
                        %error, own_url = self.config.own_url,
                        "no cache session: every read goes to the catalog"
                    );
                }
                self.complained = true;
                None
            }
        }
    }

    fn renew(&mut self, session: SessionId) -> Option<SessionId> {
        let asked = BootInstant::now();
        let request = KeepAliveRequest { session };
        match self.post::<_, LeaseAnswer>("/sessions/keep-alive", RENEW_TIMEOUT, &request) {
            Ok(LeaseAnswer { lease_ms: 0 }) => {
                tracing::debug!(
                    "lease not renewed: the catalog waits for an answer to an invalidation"
                );
            }
            Ok(LeaseAnswer { lease_ms }) => {
                self.config
                    .cache
                    .renew(&request.session, asked + Duration::from_millis(lease_ms));
            }
            Err(CallError::Status { status: 404, .. }) => {
                self.config.cache.lose(&request.session);
                tracing::warn!(
                    session = %request.session,
                    "the catalog has forgotten the cache session: registering a new one"
                );
                return None;
            }
            Err(error) => tracing::debug!(%error, "lease not renewed"),
        }
        Some(request.session)
    }

    fn post<Q: serde::Serialize, A: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        timeout: Duration,
        body: &Q,
    ) -> Result<A, CallError> {
        self.client.call(
            Call {
                method: "POST",
                base: &self.config.catalog_url,
                path,
                timeout,
                trace: None,
            },
            body,
        )
    }
}
