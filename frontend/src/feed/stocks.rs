//! The thread that reads the table of stocks while somebody watches: the whole table at a low rate,
//! which costs trading the same however many watch and however much is traded. (Following
//! invalidations instead would read once per batch of trades, and not at all with the cache
//! switched off.)

use super::Feed;
use crate::cache::shared::stock_info;
use common::http::catalogs::{Catalogs, Says};
use common::http::edge::subscribers::Subscribers;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::wire::catalog::{LookupAnswer, LookupRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two reads, and until a first viewer is noticed.
const EVERY: Duration = Duration::from_millis(500);
/// A large table is read less often: reading takes at most one part in so many of the time.
const SHARE: u32 = 20;
/// Bound of one read.
const TIMEOUT: Duration = Duration::from_millis(1_000);

pub struct StockReader {
    pub feed: Arc<Feed>,
    /// Those who watch, where the server can stream.
    pub subscribers: Option<Subscribers>,
    /// Their connections are ended with the service.
    pub catalogs: Catalogs,
    /// The service's stop.
    pub stop: Shutdown,
}

impl StockReader {
    /// Starts the thread. The service's stop ends it.
    #[must_use]
    pub fn start(self) -> Thread {
        Thread::spawn("feed-stocks", move || self.run())
    }

    fn run(&self) {
        let mut rest = EVERY;
        while !self.stop.wait(rest) {
            rest = EVERY;
            if !self.is_watched() {
                // At each look while nobody watches, not once: the publisher may have taken a table
                // just before, and put it up since.
                *self.feed.table.lock() = None;
                self.feed.board.lock().forget_stocks();
                continue;
            }
            let began = Instant::now();
            let all = LookupRequest { names: None };
            // A statement about now, as for any reader.
            let read = self
                .catalogs
                .post::<_, LookupAnswer>(Says::Now, "/lookup", TIMEOUT, &all);
            match read {
                Ok(answer) => {
                    // Replaces a table that the publisher has not taken yet: only the newest is
                    // worth showing.
                    *self.feed.table.lock() = Some(answer.stocks.iter().map(stock_info).collect());
                    // A table of 100 000 stocks takes the catalog a while; trades must not feel it.
                    rest = rest.max(began.elapsed() * SHARE);
                }
                // The status shows that the catalog is away. However long that took to find out, it
                // is asked again soon.
                Err(error) => {
                    tracing::debug!(%error, "the table of stocks could not be read for the feed")
                }
            }
        }
    }

    fn is_watched(&self) -> bool {
        self.feed.is_polled()
            || self
                .subscribers
                .as_ref()
                .is_some_and(|subscribers| subscribers.count() > 0)
    }
}
