//! The term keeper: reads the catalog's term every 100 ms. A leader that cannot reach the catalog,
//! or reads a newer term, does not lead.
//!
//! Without it a leader that is cut off from the catalog would look healthy to every front-end, and
//! each order would run into its time-out. The catalog's workers answer this read, never its
//! writer, so a long commit is not taken for an unreachable catalog.

use crate::leading::catalog::CatalogClient;
use crate::replica::Replica;
use common::shutdown::Shutdown;
use common::timing::{MISSES, TERM_READ};
use std::sync::Arc;

/// Works until the service stops.
pub fn keep_term(replica: &Arc<Replica>, catalog: &CatalogClient, stop: &Shutdown) {
    let mut misses = 0;
    while !stop.wait(TERM_READ) {
        // Before the call: the answer judges the leadership that stood when it was asked for.
        let leading = replica.leading();
        match catalog.term() {
            Ok(answer) => {
                misses = 0;
                replica.note_catalog(&answer);
                let info = answer.term_info();
                match (replica.observe_term(info), leading) {
                    // The catalog granted this term and now has an older one: its file was
                    // replaced. The next claim shows whether rows are missing too.
                    (Err(known), Some(term)) if known.term == term => {
                        tracing::error!(
                            term,
                            read = info.term,
                            "the catalog has an older term than it granted: its file was replaced"
                        );
                        replica.step_down(term, "the catalog's term went backwards");
                    }
                    // Another thread may have learned of a newer term since this one was read.
                    (_, Some(term)) => replica.catalog_answers(term, true),
                    (_, None) => {}
                }
            }
            Err(error) => {
                // One miss may be a lost packet. Two in a row make front-ends look elsewhere.
                misses += 1;
                tracing::debug!(%error, misses, "the term could not be read");
                if let (true, Some(term)) = (misses >= MISSES, leading) {
                    replica.catalog_answers(term, false);
                }
            }
        }
    }
}
