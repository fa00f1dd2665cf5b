//! Gets the genesis for an empty file: a new one, or one in the place of a file that was set aside.
//! It has a thread of its own, so that a bazaar of one replica, which has no peer, gets it too.
//!
//! Once the catalog has granted a term, its genesis is the bazaar's, and another replica's counts
//! only with the same cluster id: a file of another bazaar would else spread. Before, the catalog's
//! file may be a new one in the place of one that was lost. Then the other replicas have the true
//! genesis, so this replica asks them first.

use crate::leading::catalog::CatalogClient;
use crate::log::writer::{LogStage, WriterWork};
use crate::replica::Replica;
use common::http::client::HttpClient;
use common::shutdown::Shutdown;
use common::wire::order::{ClusterId, Genesis, ReplicaId};
use crossbeam::channel::bounded;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The thread `genesis`.
#[derive(Debug)]
pub struct GenesisFetcher {
    pub replica: Arc<Replica>,
    pub peers: BTreeMap<ReplicaId, String>,
    pub http: HttpClient,
    pub catalog: CatalogClient,
    pub writer: Arc<LogStage>,
    pub stop: Shutdown,
}

/// Pause after no replica and no catalog had it.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How often the thread looks whether the file was set aside, which empties it.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// Bound of one call.
const TIMEOUT: Duration = Duration::from_secs(1);

impl GenesisFetcher {
    /// Works until the service stops.
    pub fn run(&self) {
        let mut waiting = false;
        loop {
            // Looked at again for ever, not once: a file that is set aside at any later time leaves
            // an empty one.
            let empty = self.replica.durable().is_none();
            let written = empty && self.write();
            // One line for a wait, however long it lasts.
            if empty && !written && !waiting {
                tracing::info!(
                    "the log is empty: waiting for the genesis from the catalog or another replica"
                );
            }
            waiting = empty && !written;
            if self.stop.wait(if waiting { BACK_OFF } else { LOOK_AROUND }) {
                return;
            }
        }
    }

    /// One try; false when the genesis could not be had or written.
    fn write(&self) -> bool {
        let Some(genesis) = self.fetch() else {
            return false;
        };
        let (sender, receiver) = bounded(1);
        if self
            .writer
            .put(WriterWork::WriteGenesis(genesis, sender))
            .is_err()
        {
            return false;
        }
        self.stop
            .receive(&receiver)
            .is_some_and(|written| written.is_ok())
    }

    fn fetch(&self) -> Option<Genesis> {
        // Known from an earlier read of the term: then a catalog that is away does not keep this
        // replica empty, as any peer's genesis with that id will do.
        if let Some(cluster) = self.replica.settled_cluster() {
            return self.settled(&cluster);
        }
        // Without the catalog this replica cannot know to which bazaar it belongs.
        let term = self.catalog.term().ok()?;
        match term.settled_cluster() {
            Some(cluster) => self.settled(cluster),
            None => self
                .peers_genesis()
                .next()
                // The catalog last. Before the first grant its genesis may be of a new file in the
                // place of a lost one, and this replica would begin a second history beside the
                // logs that have the first.
                .or_else(|| self.catalog_genesis()),
        }
    }

    fn settled(&self, cluster: &ClusterId) -> Option<Genesis> {
        self.catalog_genesis()
            .into_iter()
            .chain(self.peers_genesis())
            .find(|genesis| genesis.cluster == *cluster)
    }

    fn catalog_genesis(&self) -> Option<Genesis> {
        self.catalog.genesis().ok()
    }

    fn peers_genesis(&self) -> impl Iterator<Item = Genesis> {
        self.peers
            .values()
            .filter_map(|url| self.http.get(url, "/genesis", TIMEOUT).ok())
    }
}
