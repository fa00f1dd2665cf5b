//! The measured bazaar. Either this program starts it, of real processes in a temporary folder, or
//! it runs elsewhere, and commands of the user kill it and set it up.

mod local;
mod remote;

use super::tables::{Cache, Fact};
use client::api::Api;
use common::wire::public::Status;
use local::Local;
pub use remote::Elsewhere;
use remote::Remote;

#[derive(Debug, Clone)]
pub enum Place {
    Here,
    Elsewhere(Box<Elsewhere>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSummary {
    pub orders: u64,
    pub sha256: String,
}

#[derive(Debug)]
pub enum Target {
    Here(Box<Local>),
    Elsewhere(Box<Remote>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSetting {
    pub cache: Cache,
    /// Most stocks in the cache; none: the front-end's default.
    pub capacity: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaAction {
    Kill,
    Restart,
    Pause,
    Resume,
}

impl Target {
    /// Starts a bazaar, or finds the one elsewhere.
    pub fn open(place: &Place) -> Result<Self, String> {
        match place {
            Place::Here => Ok(Self::Here(Box::new(Local::start()?))),
            Place::Elsewhere(elsewhere) => Ok(Self::Elsewhere(Box::new(Remote::find(elsewhere)?))),
        }
    }

    /// Replaces a bazaar that was started here by an empty one; one elsewhere stays as it is.
    pub fn anew(self, place: &Place) -> Result<Self, String> {
        match self {
            Self::Here(_) => {
                drop(self);
                Self::open(place)
            }
            Self::Elsewhere(_) => Ok(self),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Here(here) => here.url(),
            Self::Elsewhere(remote) => remote.url(),
        }
    }

    pub fn api(&self) -> Api {
        Api::new(&self.url())
    }

    /// A client of the front-end's internal listener, where its URL is known.
    pub fn internal(&self) -> Option<Api> {
        match self {
            Self::Here(here) => Some(here.internal()),
            Self::Elsewhere(remote) => remote.internal(),
        }
    }

    pub fn status(&self) -> Result<Status, String> {
        self.api().status().map_err(|e| format!("GET /status: {e}"))
    }

    /// The settings of the cache that can be measured: both, or the present one.
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

    /// Sets the cache; a change restarts the front-end. Without a command for that, the front-end
    /// stays as it is, and [`Target::caches`] shows it.
    ///
    /// # Errors
    /// When the front-end does not come back.
    pub fn set_cache(&mut self, setting: CacheSetting) -> Result<(), String> {
        match self {
            Self::Here(here) => here.set_cache(setting),
            Self::Elsewhere(remote) => remote.set_cache(setting),
        }
    }

    pub fn can(&self, deed: ReplicaAction) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Elsewhere(remote) => remote.can(deed),
        }
    }

    pub fn act(&mut self, deed: ReplicaAction, replicas: &[u8]) -> Result<(), String> {
        match self {
            Self::Here(here) => here.act(deed, replicas),
            Self::Elsewhere(remote) => remote.act(deed, replicas),
        }
    }

    /// Whether these replicas follow again with every order up to `last`.
    pub fn follow_again(&self, replicas: &[u8], last: Option<u64>) -> bool {
        match self {
            Self::Here(here) => here.follow_again(replicas, last),
            Self::Elsewhere(_) => self
                .status()
                .is_ok_and(|status| remote::follow_again(&status, replicas, last)),
        }
    }

    /// The files of all replicas; none without a command that reads them.
    pub fn files(&self) -> Result<Option<Vec<FileSummary>>, String> {
        let text = match self {
            Self::Here(here) => Some(here.order_tool("verify")?),
            Self::Elsewhere(remote) => remote.verify()?,
        };
        Ok(text.map(|text| summaries(&text)))
    }

    /// The log of one replica as `order dump` prints it; none without a command for that.
    pub fn dump(&self) -> Result<Option<String>, String> {
        match self {
            Self::Here(here) => here.order_tool("dump").map(Some),
            Self::Elsewhere(remote) => remote.dump(),
        }
    }

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

    /// Lines of `order verify` are read, other lines are skipped.
    #[test]
    fn summaries_of_files() {
        let text = "order1.db: orders 12 last_hash ab sha256 cd\n\
                    order2.db: NOT READABLE: gone\nNOT EQUAL\n";
        assert_eq!(
            summaries(text),
            [FileSummary {
                orders: 12,
                sha256: "cd".into()
            }]
        );
    }
}
