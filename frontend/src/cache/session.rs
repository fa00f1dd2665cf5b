//! The thread that keeps the cache's lease alive: it registers a session with the catalog, renews
//! its lease, registers a new one when the catalog has forgotten it, and ends it when the service
//! stops.

use crate::cache::shared::SharedCache;
use common::clock::BootInstant;
use common::http::catalogs::{Catalogs, Says};
use common::http::client::{Call, CallError};
use common::secret;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{KEEP_ALIVE, LEASE, PROBE_TIMEOUT};
use common::wire::Empty;
use common::wire::catalog::{KeepAliveRequest, LeaseAnswer, RegisterRequest, SessionId};
use common::wire::frontend::EndSessionRequest;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A registration takes a probe push back to this front-end; one that takes as long as its lease is
/// of no use.
const REGISTER_TIMEOUT: Duration = LEASE;
/// A renewal that takes longer is sent again while the lease still runs.
const RENEW_TIMEOUT: Duration = KEEP_ALIVE;
/// Pause after a registration that failed because no catalog is active: one is about to take over.
const SOON: Duration = Duration::from_millis(20);

pub struct SessionConfig {
    /// The catalogs, with connections of its own: the last call is made when others are ended.
    pub catalogs: Catalogs,
    /// Under which the catalog reaches this front-end.
    pub own_url: String,
    /// The cache.
    pub cache: Arc<SharedCache>,
    /// The service's stop.
    pub stop: Shutdown,
}

/// Starts the thread. The service's stop ends it.
#[must_use]
pub fn start(config: SessionConfig) -> Thread {
    Thread::spawn("session", move || {
        LeaseKeeper {
            config,
            complained: false,
            pace: KEEP_ALIVE,
        }
        .run()
    })
}

struct LeaseKeeper {
    config: SessionConfig,
    /// Whether the log has a line that there is no session: one is enough, not four a second.
    complained: bool,
    /// From one call to the next.
    pace: Duration,
}

impl LeaseKeeper {
    fn run(mut self) {
        let mut session = None;
        while !self.config.stop.is_triggered() {
            // The pace counts from the start of a call: a slow one must not cost lease time.
            let began = Instant::now();
            self.pace = KEEP_ALIVE;
            session = match session.take() {
                None => self.register(),
                Some(session) => self.renew(session),
            };
            // A lost session is replaced at once; a registration that failed is tried
            // again at the usual pace.
            let lost = session.is_none() && !self.complained;
            let rest = self.pace.saturating_sub(began.elapsed());
            if !lost && self.config.stop.wait(rest) {
                break;
            }
        }
        self.leave();
    }

    /// The last act of this thread, so that it registers no more. The sessions end at the catalog
    /// only after they ended here, under the cache's lock.
    fn leave(&self) {
        for session in self.config.cache.leave() {
            let end = EndSessionRequest { session };
            let timeout = PROBE_TIMEOUT;
            let ended = self
                .config
                .catalogs
                .post(Says::Fact, "/sessions/end", timeout, &end);
            match ended {
                Ok(Empty {}) => tracing::info!(session = %end.session, "cache session ended"),
                // Trades wait for the end of its lease, as after a crash.
                Err(error) => {
                    let session = &end.session;
                    tracing::info!(%session, %error, "cache session left to its lease");
                }
            }
        }
    }

    fn register(&mut self) -> Option<SessionId> {
        let SessionConfig {
            catalogs,
            cache,
            own_url,
            ..
        } = &self.config;
        let mut attempt = None;
        let answered = catalogs.round(Says::Now, |client, base| {
            // A new id for each catalog that is tried: one that gave no answer may have granted the
            // last one, and its late pushes must not be taken for those of another.
            let session = SessionId(secret::hex(16));
            // Pending before it is sent: the catalog's probe push comes before its reply.
            cache.begin_session(&session);
            let request = RegisterRequest {
                session,
                url: own_url.clone(),
            };
            let call = Call {
                method: "POST",
                base,
                path: "/sessions/register",
                timeout: REGISTER_TIMEOUT,
                trace: None,
            };
            // From before the request leaves: so the lease ends here before it ends at the catalog.
            let asked = BootInstant::now();
            let answer = client.call_dated::<_, LeaseAnswer>(call, &request);
            attempt = Some((request.session, asked));
            answer
        });
        match answered {
            Ok(answer) => {
                let (session, asked) = attempt.expect("an answer follows an attempt");
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
                if error.no_catalog_is_active() {
                    self.pace = SOON;
                }
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
        let answered = self.config.catalogs.post::<_, LeaseAnswer>(
            Says::Now,
            "/sessions/keep-alive",
            RENEW_TIMEOUT,
            &request,
        );
        match answered {
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
}
