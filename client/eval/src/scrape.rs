//! The front-end's counters: `/metrics` of its internal listener (Prometheus text), and the cache's
//! in `GET /status`.

use client::api::Api;
use client::stats::Kind;
use cluster::wait;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time until a front-end has added up all requests that it answered.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// The counters of a front-end since its start.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    /// Lines of `/metrics` without comments: name with labels, and value. Empty where the internal
    /// listener cannot be reached.
    values: BTreeMap<String, f64>,
    hits: u64,
    misses: u64,
}

/// The difference of two scrapes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counted {
    /// By kind: requests, and the sum of their seconds in the front-end.
    pub answered: [(f64, f64); 3],
    pub hits: u64,
    pub misses: u64,
}

impl Scrape {
    /// Reads a front-end's counters; those of its internal listener only where its URL is known.
    pub fn of(public: &Api, internal: Option<&Api>) -> Result<Self, String> {
        let cache = public
            .status()
            .map_err(|e| format!("GET /status: {e}"))?
            .cache;
        let mut scrape = Self {
            hits: cache.hits,
            misses: cache.misses,
            ..Self::default()
        };
        if let Some(internal) = internal {
            let answer = internal
                .get("/metrics")
                .map_err(|e| format!("GET /metrics: {e}"))?;
            scrape.values = parse(&answer.body);
        }
        Ok(scrape)
    }

    /// The difference since this scrape. It waits until the front-end has added up everything: it
    /// counts cached reads at once, but adds up their times only ten times a second.
    pub fn until_now(&self, public: &Api, internal: Option<&Api>) -> Result<Counted, String> {
        let mut counted = Counted::default();
        let complete = wait::until(SETTLED_WITHIN, || match Self::of(public, internal) {
            Ok(now) => {
                counted = now.since(self);
                let reads = (counted.hits + counted.misses) as f64;
                (internal.is_none() || counted.answered[Kind::Lookup as usize].0 >= reads)
                    .then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        });
        complete.unwrap_or(Ok(())).map(|()| counted)
    }

    /// The difference since an earlier scrape of the same process.
    pub fn since(&self, earlier: &Self) -> Counted {
        let difference = |name: String| {
            let value = |scrape: &Self| scrape.values.get(&name).copied().unwrap_or(0.0);
            value(self) - value(earlier)
        };
        let answered = Kind::ALL.map(|kind| {
            let of = |what| {
                difference(format!(
                    "bazaar_http_request_seconds_{what}{{route=\"{}\"}}",
                    route(kind)
                ))
            };
            (of("count"), of("sum"))
        });
        Counted {
            answered,
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
        }
    }
}

impl Counted {
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.answered.iter_mut().zip(&other.answered) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
        self.hits += other.hits;
        self.misses += other.misses;
    }
}

fn route(kind: Kind) -> &'static str {
    match kind {
        Kind::Lookup => "/stocks/{name}",
        Kind::Order => "/orders",
        Kind::OrderQuery => "/orders/{number}",
    }
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two scrapes give the differences of counts and seconds by kind.
    #[test]
    fn differences() {
        let scrape = |count: u32, hits| Scrape {
            values: parse(&format!(
                "# HELP x y\nbazaar_http_request_seconds_sum{{route=\"/stocks/{{name}}\"}} {}\n\
                 bazaar_http_request_seconds_count{{route=\"/stocks/{{name}}\"}} {count}\n",
                f64::from(count) / 4.0
            )),
            hits,
            misses: 1,
        };
        let mut counted = scrape(12, 7).since(&scrape(4, 2));
        assert_eq!(
            counted,
            Counted {
                answered: [(8.0, 2.0), (0.0, 0.0), (0.0, 0.0)],
                hits: 5,
                misses: 0
            }
        );
        counted.add(&counted.clone());
        assert_eq!((counted.answered[0], counted.hits), ((16.0, 4.0), 10));
    }
}
