//! The clean stop, after which the next start or takeover waits for no lease. The order of its
//! steps matters:
//!
//! 1. While leases of an earlier run may last, `clean` would be a lie: the stop is not a clean one.
//! 2. No lease is granted or renewed any more, and no batch taken; the one under way is over, as
//!    the writer's state is held.
//! 3. Every session is ended: its front-end acknowledges that its cache is empty, or its lease and
//!    the margin are waited for.
//! 4. Nothing is said about now any more. From here on, another catalog may trade.
//! 5. `clean` is written, under the fence. Whatever comes of it, the process exits: it may have
//!    been written, so that this process must not serve again.

use super::Writer;
use common::clock::BootInstant;
use common::crash;

impl Writer {
    /// Stops for good. Later work is answered with 421.
    pub fn stop_cleanly(&mut self) {
        if self.is_over() {
            return;
        }
        // First, so that work which waits for this state is refused afterwards, however the rest
        // ends.
        self.stopped = true;
        // During the wait the state is held by the writer's thread; this is its last moment.
        if BootInstant::now() < self.serve_from {
            tracing::info!("stopped during the start-up wait: the next start waits, too");
            self.visible.silence();
            return;
        }
        crash::point("catalog-stop-begins");
        self.sessions.end_all("the catalog stops");
        crash::point("catalog-stop-ends-sessions");
        // A lease and the margin at most, for a front-end that does not answer.
        self.sessions.wait_ended();
        self.visible.silence();
        crash::point("catalog-stop-silent");
        match self.store.set_clean() {
            Ok(()) => tracing::info!("stopped cleanly: the next catalog waits for no lease"),
            // No second try. The statement may have been executed, and then another catalog is
            // active already.
            Err(error) => {
                tracing::warn!(%error, "the clean stop was not recorded: the next catalog waits");
            }
        }
        crash::point("catalog-stop-clean");
    }
}
