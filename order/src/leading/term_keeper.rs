//! The term keeper: reads the catalog's term every 100 ms. A leader that cannot reach the catalog,
//! or reads a newer term, does not lead.

use crate::leading::catalog::CatalogClient;
use crate::replica::Replica;
use common::shutdown::Shutdown;
use common::timing::{MISSES, TERM_READ};
use std::sync::Arc;

/// Works until the service stops.
pub fn keep_term(replica: &Arc<Replica>, catalog: &CatalogClient, stop: &Shutdown) {
    let mut misses = 0;
    while !stop.wait(TERM_READ) {
        let leading = replica.leading();
        match catalog.term() {
            Ok(answer) => {
                misses = 0;
                replica.note_catalog(&answer);
                let view = answer.view();
                match (replica.observe_term(view), leading) {
                    // It was granted this term by a catalog that now has an older one: that file
                    // was replaced. The next claim shows whether rows are missing too.
                    (Err(known), Some(term)) if known.term == term => {
                        tracing::error!(
                            term,
                            read = view.term,
                            "the catalog has an older term than it granted: its file was replaced"
                        );
                        replica.step_down(term, "the catalog's term went backwards");
                    }
                    // An older view than what was heard of elsewhere was read before that.
                    (_, Some(term)) => replica.catalog_answers(term, true),
                    (_, None) => {}
                }
            }
            Err(error) => {
                misses += 1;
                tracing::debug!(%error, misses, "the term could not be read");
                if let (true, Some(term)) = (misses >= MISSES, leading) {
                    replica.catalog_answers(term, false);
                }
            }
        }
    }
}
