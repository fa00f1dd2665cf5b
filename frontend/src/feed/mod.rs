//! The live feed, `GET /events`: server-sent events about stocks, cluster and load, for the page
//! and for all others that watch.
//!
//! ```text
//!  leader, health, cache ──status──► publisher ──► board ──► snapshot for a new subscriber
//!  counters ────────────durations──►   │ ▲                    (encoded once per change)
//!                                      │ └─ table ─ stock reader ─► catalog, while one watches
//!                                      └─ one event, encoded once ─► Subscribers ─► cores
//! ```
//!
//! | module | one idea |
//! |---|---|
//! | [`board`] | all events as they stand, and how they are encoded |
//! | [`timeline`] | the changes of status that get an entry, as pure rules |
//! | [`load`] | rates and percentiles from counters |
//! | [`publisher`], [`stocks`] | the two threads |
//!
//! Events: `status` (data as of `GET /status`), `stocks` (those that changed), `timeline`
//! (entries), `load` (samples, one each second: that is the heartbeat, too). A new subscriber gets
//! all of them as they stand, the snapshot, so that nothing depends on events that it missed.
//!
//! Where the server cannot stream (tiny_http), has no permit left, or is asked for `/events?poll`,
//! the response is the snapshot alone, with `retry: 2000`: a browser then asks again every two
//! seconds, which is polling with the same data.

pub mod board;
pub mod load;
pub mod publisher;
pub mod stocks;
pub mod timeline;

use board::Board;
use common::http::Response;
use common::wire::public::StockInfo;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long somebody who polls counts as watching: several of its polls, so that one that is late
/// does not stop the reading of stocks.
const POLLER_WATCHES: Duration = Duration::from_secs(10);
/// A browser that lost the feed asks again after two seconds.
const RETRY: &[u8] = b"retry: 2000\n\n";

/// The feed, as the API, the publisher and the stock reader share it.
#[derive(Debug, Default)]
pub struct Feed {
    // No function holds two of these locks at a time, so that their order does not matter.
    board: Mutex<Board>,
    polled: Mutex<Option<Instant>>,
    /// The newest table of the stock reader, until the publisher takes it.
    table: Mutex<Option<Vec<StockInfo>>>,
}

impl Feed {
    /// The first events of a new subscriber.
    pub fn snapshot(&self) -> Arc<[u8]> {
        self.board.lock().snapshot()
    }

    /// The same as a response of its own, for a client that polls and so counts as watching now.
    pub fn polled(&self) -> Response {
        // From here on the stock reader reads for it: the snapshot of its next poll has stocks.
        *self.polled.lock() = Some(Instant::now());
        self.snapshot_response()
    }

    /// The same for a client that does not come again.
    pub fn snapshot_response(&self) -> Response {
        // The browser repeats by itself, so that this one response makes polling of the feed
        // wherever it cannot stream.
        let body = [RETRY, &self.snapshot()].concat();
        let fields = common::http::edge::respond::FEED_FIELDS;
        let answer = Response::text(200, "text/event-stream", body);
        fields.into_iter().fold(answer, |answer, (name, value)| {
            answer.with_header(name, value)
        })
    }

    /// Whether somebody polled lately.
    pub fn is_polled(&self) -> bool {
        self.polled
            .lock()
            .is_some_and(|at| at.elapsed() < POLLER_WATCHES)
    }
}

/// Now, in milliseconds since 1970, for people to read.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A poller gets the whole board with a length, and when to come again; it counts as watching
    /// from then on.
    #[test]
    fn polling() {
        let feed = Feed::default();
        let _ = feed.snapshot_response();
        assert!(!feed.is_polled());
        let answer = feed.polled();
        assert_eq!(
            (answer.status, answer.content_type),
            (200, "text/event-stream")
        );
        assert!(answer.body.starts_with(b"retry: 2000\n\n"));
        assert!(
            answer
                .headers
                .contains(&("Cache-Control", "no-store".into()))
        );
        assert!(feed.is_polled());
    }
}
