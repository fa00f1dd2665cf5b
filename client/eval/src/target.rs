//! The bazaar that is measured: one that is started here, of real processes in a folder that goes
//! afterwards, or one that runs elsewhere and is killed and set up by commands that are given.

mod local;
mod remote;

use super::tables::{Cache, Fact};
use client::api::Api;
use common::wire::public::Status;
use local::Local;
pub use remote::Elsewhere;
use remote::Remote;

/// Where the bazaar is.
#[derive(Debug, Clone)]
pub enum Place {
    /// Started here.
    Here,
    /// Elsewhere.
    Elsewhere(Box<Elsewhere>),
}

/// What is known of a replica's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSummary {
    /// Orders in it.
    pub orders: u64,
    /// SHA-256 of its canonical copy.
    pub sha256: String,
}

/// The bazaar that is measured.
#[derive(Debug)]
pub enum Target {
    /// Started here.
    Here(Box<Local>),
    /// Elsewhere.
    Elsewhere(Box<Remote>),
}

/// How the front-end's cache is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSetting {
    /// Whether it is on.
    pub cache: Cache,
    /// Stocks that it holds at most; none: as many as the front-end does by itself.
    pub capacity: Option<usize>,
}

/// What can be done to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// `kill -9`.
    Kill,
    /// Started again after that.
    Restart,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

impl Target {
    /// Starts a bazaar, or finds the one elsewhere.
    ///
    /// # Errors
    /// When it does not start or answer.
    pub fn open(place: &Place) -> Result<Self, String> {
        match place {
            Place::Here => Ok(Self::Here(Box::new(Local::start()?))),
            Place::Elsewhere(elsewhere) => Ok(Self::Elsewhere(Box::new(Remote::find(elsewhere)?))),
        }
    }

    /// A bazaar that is empty, where that can be had: elsewhere it stays as it is.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub fn anew(self, place: &Place) -> Result<Self, String> {
        match self {
            Self::Here(_) => {
                drop(self);
                Self::open(place)
            }
            Self::Elsewhere(_) => Ok(self),
        }
    }

    /// Public URL of the front-end.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Here(here) => here.url(),
            Self::Elsewhere(remote) => remote.url(),
        }
    }

    /// A client of the public API.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&self.url())
    }

    /// A client of the front-end's internal listener, where that can be reached.
    #[must_use]
    pub fn internal(&self) -> Option<Api> {
        match self {
            Self::Here(here) => Some(here.internal()),
            Self::Elsewhere(remote) => remote.internal(),
        }
    }

    /// What the front-end sees.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status, String> {
        self.api().status().map_err(|e| format!("GET /status: {e}"))
    }

    /// The settings of the cache that can be measured: both, or what is there.
    ///
    /// # Errors
    /// When the front-end does not answer.
    pub fn caches(&self) -> Result<Vec<Cache>, String> {
        let sets = match self {
            Self::Here(_) => true,
            Self::Elsewhere(remote) => remote.sets_cache(),
        };
        if sets {
            return Ok(vec![Cache::On, Cache::Off]);
        }
        Ok(vec![if self.status()?.cache.enabled {
            Cache::On
        } else {
            Cache::Off
        }])
    }

    /// Sets the cache, by starting the front-end anew unless it is set so. Without a way to do that
    /// the front-end stays as it is; [`Target::caches`] says so.
    ///
    /// # Errors
    /// When the front-end does not come back.
    pub fn set_cache(&mut self, setting: CacheSetting) -> Result<(), String> {
        match self {
            Self::Here(here) => here.set_cache(setting),
            Self::Elsewhere(remote) => remote.set_cache(setting),
        }
    }

    /// Whether this can be done here.
    #[must_use]
    pub fn can(&self, deed: Deed) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Elsewhere(remote) => remote.can(deed),
        }
    }

    /// Does it to each of these replicas.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn act(&mut self, deed: Deed, replicas: &[u8]) -> Result<(), String> {
        match self {
            Self::Here(here) => here.act(deed, replicas),
            Self::Elsewhere(remote) => remote.act(deed, replicas),
        }
    }

    /// Whether these replicas follow again with every order up to `last`.
    #[must_use]
    pub fn follow_again(&self, replicas: &[u8], last: Option<u64>) -> bool {
        match self {
            Self::Here(here) => here.follow_again(replicas, last),
            Self::Elsewhere(_) => self
                .status()
                .is_ok_and(|status| remote::follow_again(&status, replicas, last)),
        }
    }

    /// The files of all replicas; none when there is no way to look at them.
    ///
    /// # Errors
    /// When looking failed.
    pub fn files(&self) -> Result<Option<Vec<FileSummary>>, String> {
        let text = match self {
            Self::Here(here) => Some(here.order_tool("verify")?),
            Self::Elsewhere(remote) => remote.verify()?,
        };
        Ok(text.map(|text| summaries(&text)))
    }

    /// The log of one replica, as `order dump` prints it; none when there is no way to look at it.
    ///
    /// # Errors
    /// When looking failed.
    pub fn dump(&self) -> Result<Option<String>, String> {
        match self {
            Self::Here(here) => here.order_tool("dump").map(Some),
            Self::Elsewhere(remote) => remote.dump(),
        }
    }

    /// What is to be said about it.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Here(_) => vec![Fact::new("place", "here")],
            Self::Elsewhere(remote) => remote.facts(),
        }
    }
}

/// Reads what `order verify` prints: `FILE: orders N last_hash H sha256 S`.
fn summaries(text: &str) -> Vec<FileSummary> {
    let line = |line: &str| {
        let mut words = line.split_once(": orders ")?.1.split(' ');
        let orders = words.next()?.parse().ok()?;
        let sha256 = words.skip_while(|word| *word != "sha256").nth(1)?;
        Some(FileSummary {
            orders,
            sha256: sha256.into(),
        })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `order verify` are read, others passed over.
    #[test]
    fn summaries_of_files() {
        let text = "order1.db: orders 12 last_hash ab sha256 cd\norder2.db: NOT READABLE: gone\nNOT EQUAL\n";
        assert_eq!(
            summaries(text),
            [FileSummary {
                orders: 12,
                sha256: "cd".into()
            }]
        );
    }
}
