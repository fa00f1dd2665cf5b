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
        // This thread alone registers, renews and ends, so that a renewal never meets a
        // registration that is under way.
        while !self.config.stop.is_triggered() {
            // The pace counts from the start of a call: a slow one must not cost lease time.
            let began = Instant::now();
            // Anew for each call: only a registration that found no active catalog shortens it.
            self.pace = KEEP_ALIVE;
            session = match session.take() {
                None => self.register(),
                Some(session) => self.renew(session),
            };
            // A lost session is replaced at once; a registration that failed is tried again at the
            // usual pace. `complained` tells the two apart: a renewal that found the session
            // unknown leaves it false, a registration that failed sets it.
            let lost = session.is_none() && !self.complained;
            let rest = self.pace.saturating_sub(began.elapsed());
            // A stop ends the wait at once: the session should end before its front-end does, since
            // trades wait for the lease of one that was not ended.
            if !lost && self.config.stop.wait(rest) {
                break;
            }
        }
        // Also after a stop during a call: the loop is left by its head then.
        self.leave();
    }

    /// The last act of this thread, so that it registers no more. The sessions end at the catalog
    /// only after they ended here, under the cache's lock.
    fn leave(&self) {
        for session in self.config.cache.leave() {
            let end = EndSessionRequest { session };
            // Short: it delays the stop of this process, and the lease ends by itself.
            let timeout = PROBE_TIMEOUT;
            let ended = self
                .config
                .catalogs
                // A fact: that a session ended here is true whichever epoch the catalog answers
                // under.
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
        // Which session and which moment the answer belongs to: set by each attempt, read after the
        // last.
        let mut attempt = None;
        // A lease is a statement about now, so that an answer of an older epoch does not count.
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
                // The length comes from the catalog, since it may be cut to what is left of the
                // catalog's own lease on a shared database.
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
                // One takes over soon, and until this registers every read goes to the catalog.
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
                // The id is given up: the next attempt makes a new one, so that this one's late
                // pushes are refused.
                None
            }
        }
    }

    fn renew(&mut self, session: SessionId) -> Option<SessionId> {
        // Before the call, as with the registration: counted from the answer, the lease would
        // outlast the catalog's by the time on the way.
        let asked = BootInstant::now();
        let request = KeepAliveRequest { session };
        let answered = self.config.catalogs.post::<_, LeaseAnswer>(
            Says::Now,
            "/sessions/keep-alive",
            RENEW_TIMEOUT,
            &request,
        );
        match answered {
            // Still our session, with the lease that it has. To register anew would be no help: an
            // invalidation of ours is unanswered, and the next session would not be reached either.
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
            // Only this status says so. A time-out or a broken connection leaves the lease as it
            // is: the catalog may have renewed it, and our clock ends it in any case.
            Err(CallError::Status { status: 404, .. }) => {
                // At once, before a new session is asked for: entries of the forgotten one are
                // invalidated by nobody.
                self.config.cache.lose(&request.session);
                tracing::warn!(
                    session = %request.session,
                    "the catalog has forgotten the cache session: registering a new one"
                );
                return None;
            }
            // Kept, and tried again at the usual pace: a lease survives two lost keep-alives.
            Err(error) => tracing::debug!(%error, "lease not renewed"),
        }
        Some(request.session)
    }
}
