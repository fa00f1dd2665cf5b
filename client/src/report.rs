//! The report of a workload: a table for people, JSON for programs.

use crate::stats::{Kind, Summary};
use crate::workload::{Options, Outcome};
use common::terminal::escape;
use serde::Serialize;
use std::fmt::Write as _;

/// Most mismatches in the table; the JSON has all.
const SHOWN_MISMATCHES: usize = 20;

/// The report of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The front-ends.
    pub urls: Vec<String>,
    /// Clients at once.
    pub clients: usize,
    /// Lookups of each client.
    pub iterations: u64,
    /// Probability that a trade followed a lookup.
    pub probability: f64,
    /// Seed of stocks, sides and quantities.
    pub seed: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// One row per kind of request.
    pub requests: Vec<Row>,
    /// Orders acknowledged.
    pub acknowledged: usize,
    /// Acknowledged orders that did not read back as they were, each in a sentence.
    pub mismatches: Vec<String>,
    /// Whether a client noticed a failure during orders.
    pub noticed_during_orders: bool,
    /// Whether a client noticed a failure in the final check.
    pub noticed_in_final_check: bool,
    /// The first few failures, in words.
    pub examples: Vec<String>,
    /// Reason of an early end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether the run came to its end, every request was answered and no order differs. The exit
    /// code is 0 then.
    pub clean: bool,
}

/// Figures of one kind of request.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The kind.
    pub request: Kind,
    /// Times of successes.
    #[serde(flatten)]
    pub times: Summary,
    /// Refusals that the API promises (409).
    pub refused: u64,
    /// Repeated attempts.
    pub retries: u64,
    /// Requests without an answer until their deadline.
    pub unanswered: u64,
    /// Responses that the API does not promise.
    pub unexpected: u64,
}

impl Report {
    /// The report of a run.
    pub fn new(options: &Options, outcome: &Outcome) -> Self {
        let row = |kind| {
            let figures = outcome.stats.of(kind);
            Row {
                request: kind,
                times: figures.summary(),
                refused: figures.refused,
                retries: figures.retries,
                unanswered: figures.unanswered,
                unexpected: figures.unexpected,
            }
        };
        Self {
            urls: options.urls.clone(),
            // As they were used, not as they were given: the run can be repeated from its report.
            clients: options.clients,
            iterations: options.iterations,
            probability: options.probability,
            seed: options.seed,
            seconds: outcome.took.as_secs_f64(),
            requests: Kind::ALL.into_iter().map(row).collect(),
            acknowledged: outcome.acknowledged.len(),
            mismatches: outcome.mismatches.clone(),
            noticed_during_orders: outcome.noticed_during_orders,
            noticed_in_final_check: outcome.noticed_in_final_check,
            examples: outcome.examples.clone(),
            stopped: outcome.stopped.clone(),
            clean: outcome.is_clean(),
        }
    }

    /// One line of JSON.
    ///
    /// # Panics
    /// Never: the report can be written as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report serialises")
    }

    /// A table, with mismatches and failures below it.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}: {} of {} lookups each, a trade with p = {}, seed {}, {:.1} s\n",
            self.urls.join(", "),
            counted(self.clients, "client"),
            self.iterations,
            self.probability,
            self.seed,
            self.seconds
        );
        let _ = writeln!(
            text,
            "{:12}{:>8}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>12}{:>12}",
            "request",
            "count",
            "mean ms",
            "p50",
            "p95",
            "p99",
            "max",
            "refused",
            "retries",
            "unanswered",
            "unexpected"
        );
        for row in &self.requests {
            let t = &row.times;
            let _ = writeln!(
                text,
                "{:12}{:>8}{:>10.3}{:>9.3}{:>9.3}{:>9.3}{:>9.3}{:>9}{:>9}{:>12}{:>12}",
                row.request.label(),
                t.count,
                t.mean_ms,
                t.p50_ms,
                t.p95_ms,
                t.p99_ms,
                t.max_ms,
                row.refused,
                row.retries,
                row.unanswered,
                row.unexpected
            );
        }
        let read_back = self
            .requests
            .iter()
            .find(|row| row.request == Kind::OrderQuery)
            .map_or(0, |row| row.times.count);
        let (orders, found) = (counted(self.acknowledged, "order"), self.mismatches.len());
        let _ = writeln!(
            text,
            "\n{orders} acknowledged, {read_back} read back, {}",
            counted(found, "mismatch")
        );
        if let Some(why) = &self.stopped {
            let _ = writeln!(
                text,
                "STOPPED before the end: {}; orders that were not read back are not checked",
                escape(why)
            );
        }
        // Bounded, since a bazaar that answers wrongly does so for every order. The JSON has all.
        for mismatch in self.mismatches.iter().take(SHOWN_MISMATCHES) {
            let _ = writeln!(text, "  MISMATCH {}", escape(mismatch));
        }
        let yes_no = |noticed| if noticed { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "failure noticed: during orders {}, in the final check {}",
            yes_no(self.noticed_during_orders),
            yes_no(self.noticed_in_final_check)
        );
        for example in &self.examples {
            let _ = writeln!(text, "  {}", escape(example));
        }
        text
    }
}

fn counted(count: usize, what: &str) -> String {
    let ending = match (count, what.ends_with("ch")) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {what}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Table and JSON hold the figures, every mismatch, and whether a client noticed a failure.
    #[test]
    fn table_and_json() {
        let mut outcome = Outcome::default();
        outcome
            .stats
            .of_mut(Kind::Lookup)
            .record(Duration::from_millis(4));
        outcome.stats.of_mut(Kind::Order).refused = 3;
        outcome.mismatches.push("order 7 differs".into());
        outcome.noticed_in_final_check = true;
        let options = Options {
            seed: 11,
            ..Options::new("http://a:1")
        };
        let report = Report::new(&options, &outcome);
        let table = report.table();
        assert!(
            table.contains("1 client of 200 lookups each") && table.contains("seed 11"),
            "{table}"
        );
        assert!(
            table.contains("1 mismatch\n") && table.contains("MISMATCH order 7 differs"),
            "{table}"
        );
        assert!(
            table.contains("during orders no, in the final check yes"),
            "{table}"
        );
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("is JSON");
        assert_eq!(json["requests"][1]["request"], "order");
        assert_eq!(json["requests"][1]["refused"], 3);
        assert_eq!(json["requests"][0]["count"], 1);
        assert_eq!(json["clean"], false);
        assert_eq!(counted(2, "mismatch"), "2 mismatches");
    }
}
