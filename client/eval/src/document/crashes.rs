//! The results of the crash experiments, and the answers to the lab's questions.

use super::words::{count, list, ms};
use crate::tables::{CrashRow, Measured};
use std::fmt::Write as _;

const HEADING: &str = "## Crashes\n\n";

pub fn section(measured: &Measured, folder: &str) -> String {
    let rows = &measured.crashes;
    if rows.is_empty() {
        return format!(
            "{HEADING}Not measured: there were no commands to kill a replica and bring it back \
             (`KILL=`, `RESTART=`).\n"
        );
    }
    let over = if measured.fact("place") == "elsewhere" {
        " The time includes that of the command, over the network."
    } else {
        ""
    };
    let mut text = format!(
        "{HEADING}\
         While the clients trade (p = {} %) or read back, the experiment kills replicas with \
         `kill -9`, or pauses the leader with SIGSTOP, and brings them back after {} s. Each round \
         has new clients and ends with their final check.\n\n\
         - The *gap* is the longest time around or after the fault in which no client got an \
         answer to an order; in the final check, to a query. While there is no leader, the other \
         replicas answer queries. The brackets hold the longest such time before the fault, which \
         is a shorter period.\n\
         - The *catch-up* begins when the killed process is started again, or the pause ends. It \
         ends when the replica follows with every order.{over}\n\n\
         | round | fault | during | replicas | leader | gap (before), ms \
         | slowest order, query, ms | repeats, unanswered, wrong | orders | lost, doubled \
         | files equal | catch-up, ms |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        measured.fact("usual_p"),
        measured.fact("away_s")
    );
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} → {} | {} ({}) | {}, {} | {}, {}, {} | {} | {}, {} | {} \
             | {:.0} |",
            row.round,
            row.fault,
            row.during,
            row.replicas,
            row.leader_before,
            row.leader_after,
            ms(row.gap_ms),
            ms(row.usual_gap_ms),
            ms(row.slowest_order_ms),
            ms(row.slowest_query_ms),
            row.retries,
            row.unanswered,
            row.unexpected,
            row.acknowledged,
            row.lost,
            row.doubled,
            files(row),
            row.catch_up_ms
        );
    }
    let _ = writeln!(
        text,
        "\n![slowest request in each 50 ms, with the faults]({folder}/crashes.svg)\n"
    );
    text.push_str(&gaps(rows));
    text
}

fn files(row: &CrashRow) -> String {
    match (row.files_equal, &row.sha256) {
        (Some(true), Some(sha256)) => format!("yes, `{}…`", sha256.get(..8).unwrap_or(sha256)),
        (Some(true), None) => "yes".into(),
        (Some(false), _) => "**no**".into(),
        (None, _) => "not known".into(),
    }
}

fn gaps(rows: &[CrashRow]) -> String {
    let kind = |row: &CrashRow| (row.fault.clone(), row.during.clone());
    let mut faults: Vec<(String, String)> = rows.iter().map(kind).collect();
    faults.sort_unstable();
    faults.dedup();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        let (low, high) = (format!("{low:.0}"), format!("{high:.0}"));
        if low == high {
            format!("{low} ms")
        } else {
            format!("{low} to {high} ms")
        }
    };
    let mut text =
        String::from("| fault | during | rounds | gap | catch-up |\n|---|---|---|---|---|\n");
    for fault in &faults {
        let of = || rows.iter().filter(|row| kind(row) == *fault);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            fault.0,
            fault.1,
            of().count(),
            range(&mut of().map(|row| row.gap_ms)),
            range(&mut of().map(|row| row.catch_up_ms))
        );
    }
    text
}

pub fn answers(measured: &Measured) -> String {
    let rows = &measured.crashes;
    let heading = "## Answers to the lab's questions\n\n";
    if rows.is_empty() {
        return format!("{heading}There are no answers: no crashes were measured.\n");
    }
    let sum = |of: fn(&CrashRow) -> u64| rows.iter().map(of).sum::<u64>();
    let noticed = |of: fn(&CrashRow) -> u32| {
        rows.iter()
            .filter(|row| of(row) > 0)
            .map(|row| row.round.to_string())
            .collect::<Vec<_>>()
    };
    let (orders, check) = (
        noticed(|row| row.noticed_during_orders),
        noticed(|row| row.noticed_in_final_check),
    );
    let which = |when: &str, rounds: &[String]| match rounds {
        [] => format!("{when}, in none of {}", count(rows.len(), "round")),
        some => format!("{when}, in round {}", list(some)),
    };
    let longest = rows.iter().map(|row| row.gap_ms).fold(0.0, f64::max);
    let slowest = rows
        .iter()
        .map(|row| row.slowest_order_ms.max(row.slowest_query_ms))
        .fold(0.0, f64::max);
    let bad = sum(|row| row.retries) + sum(|row| row.unanswered) + sum(|row| row.unexpected);
    let transparent = if bad == 0 && orders.is_empty() && check.is_empty() {
        format!(
            "**Yes.** No client got an error, had to repeat a request or got a wrong answer. A \
             crash costs time: the slowest answer took {} ms, and the longest gap was {} ms.",
            ms(slowest),
            ms(longest)
        )
    } else {
        format!(
            "**Not entirely.** Clients repeated {}, gave {} up and got {}. The slowest answer took \
             {} ms, and the longest gap was {} ms.",
            count(
                usize::try_from(sum(|row| row.retries)).unwrap_or(usize::MAX),
                "attempt"
            ),
            count(
                usize::try_from(sum(|row| row.unanswered)).unwrap_or(usize::MAX),
                "request"
            ),
            count(
                usize::try_from(sum(|row| row.unexpected)).unwrap_or(usize::MAX),
                "wrong answer"
            ),
            ms(slowest),
            ms(longest)
        )
    };
    let known: Vec<&CrashRow> = rows
        .iter()
        .filter(|row| row.files_equal.is_some())
        .collect();
    let differing: Vec<String> = known
        .iter()
        .filter(|row| row.files_equal == Some(false))
        .map(|row| row.round.to_string())
        .collect();
    let same = match (known.is_empty(), differing.is_empty()) {
        (true, _) => "Not known: there was no command to read the files (`VERIFY=`).".to_owned(),
        (false, true) => format!(
            "**Yes**, after each of {}: the canonical copies (`order verify`) had one SHA-256. At \
             the end they held {}.",
            count(known.len(), "round"),
            count(
                known
                    .last()
                    .and_then(|row| usize::try_from(row.orders_in_files?).ok())
                    .unwrap_or(0),
                "order"
            )
        ),
        (false, false) => format!("**No**: they differed after round {}.", list(&differing)),
    };
    let (lost, doubled): (usize, usize) = (
        rows.iter().map(|row| row.lost).sum(),
        rows.iter().map(|row| row.doubled).sum(),
    );
    let acknowledged: usize = rows.iter().map(|row| row.acknowledged).sum();
    format!(
        "{heading}\
         - **Can the clients notice the failures?** {}; {}.\n\
         - **Are they transparent?** {transparent}\n\
         - **Do all the order replicas end up with the same database file?** {same}\n\
         - **Are orders lost or doubled?** Of {} acknowledged during the crashes, {lost} {} lost \
         and {doubled} doubled.\n",
        which("During order requests", &orders),
        which("in the final order checking", &check),
        count(acknowledged, "order"),
        if lost == 1 { "was" } else { "were" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u32, retries: u64, noticed: u32, files_equal: Option<bool>) -> CrashRow {
        CrashRow {
            round,
            fault: "kill leader".into(),
            during: "orders".into(),
            replicas: "3".into(),
            leader_before: 3,
            leader_after: 2,
            gap_ms: 21.0,
            usual_gap_ms: 4.0,
            slowest_lookup_ms: 1.0,
            slowest_order_ms: 22.0,
            slowest_query_ms: 1.0,
            retries,
            unanswered: 0,
            unexpected: 0,
            noticed_during_orders: noticed,
            noticed_in_final_check: 0,
            acknowledged: 70,
            lost: usize::from(files_equal == Some(false)),
            doubled: 0,
            files_equal,
            orders_in_files: Some(70),
            sha256: Some("0123456789".into()),
            catch_up_ms: 88.0,
        }
    }

    /// The answers name good and bad rounds as they are.
    #[test]
    fn answers_follow_the_rounds() {
        let of = |crashes| {
            answers(&Measured {
                crashes,
                ..Measured::default()
            })
        };
        let good = of(vec![row(1, 0, 0, Some(true)), row(2, 0, 0, Some(true))]);
        assert!(
            good.contains("in none of 2 rounds")
                && good.contains("**Yes.** No client got an error"),
            "{good}"
        );
        assert!(
            good.contains("**Yes**, after each of 2 rounds") && good.contains("Of 140 orders"),
            "{good}"
        );
        let bad = of(vec![row(1, 0, 0, Some(true)), row(2, 3, 1, Some(false))]);
        assert!(
            bad.contains("During order requests, in round 2")
                && bad.contains("**Not entirely.** Clients repeated 3 attempts"),
            "{bad}"
        );
        assert!(
            bad.contains("**No**: they differed after round 2") && bad.contains("1 was lost"),
            "{bad}"
        );
        assert!(of(vec![row(1, 0, 0, None)]).contains("Not known"));
        assert!(
            section(
                &Measured {
                    crashes: vec![row(1, 0, 0, Some(true))],
                    ..Measured::default()
                },
                "f"
            )
            .contains("yes, `01234567…`")
        );
    }
}
