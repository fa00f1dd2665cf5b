//! The document, from the CSV files alone. Sentences that judge are chosen by the figures: nothing
//! here takes for granted that the cache is of use, or that no order is lost.

mod appendix;
mod crashes;
mod latency;
mod load;
mod words;

use super::tables::Measured;
use words::count;

/// Writes the document; `folder` is where the plots are, as a link from it.
#[must_use]
pub fn write(measured: &Measured, folder: &str) -> String {
    let sections = [
        head(measured, folder),
        method(measured),
        latency::near(measured, folder),
        latency::benefit(measured),
        latency::far(measured, folder),
        load::section(measured, folder),
        replacement(measured, folder),
        crashes::section(measured, folder),
        crashes::answers(measured),
        threats(measured),
        appendix::section(measured, folder),
    ];
    sections.join("\n")
}

fn head(measured: &Measured, folder: &str) -> String {
    let elsewhere = measured.fact("place") == "elsewhere";
    let place = if elsewhere {
        "The bazaar ran elsewhere, the clients on the machine that is described below."
    } else if measured.fact("ec2") == "yes" {
        "**Everything below was measured on one machine of EC2, clients and services together.**"
    } else {
        "**Everything below was measured on one machine, clients and services together, not on EC2.**"
    };
    format!(
        "# Evaluation\n\n\
         `make eval` measures and then writes this page, figures, words that judge them, and plots, from the CSV files in [`{folder}/`]({folder}). Nothing in it \
         is typed by hand. {place}\n\
         The steps for AWS, from an empty account to the same page with figures of EC2, are in [docs/ec2](ec2/README.md).\n\n\
         - `make eval` takes about {} minutes with a bazaar of its own; `make eval-quick` everything once in less than one.\n\
         - `make eval URL=http://host:8080` measures a bazaar that runs elsewhere. What it can measure there depends on what it may do there: \
         `INTERNAL=` (URL of the front-end's internal listener; the token that it asks for in the variable `BAZAAR_TOKEN`), `FRONTEND=` (command that starts the front-end anew with `{{cache}}` and `{{size}}`), `KILL=`, `RESTART=`, \
         `PAUSE=`, `RESUME=` (commands, `{{id}}` is the replica), `VERIFY=`, `DUMP=` (commands that print `order verify` and `order dump`). What is missing is not measured, and said.\n",
        measured
            .fact("took_s")
            .parse::<u64>()
            .map_or(0, |s| s.div_ceil(60)),
    )
}

fn method(measured: &Measured) -> String {
    let fact = |name| measured.fact(name);
    let stocks = if fact("place") == "elsewhere" {
        "The stocks are those that are there; an order that is refused for lack of stock counts as no order."
    } else {
        "There are 14 stocks, of each so much that no order is refused for lack of it; release build, one front-end, three replicas, each with a file of its own and an fsync per batch."
    };
    let debug = if fact("profile") == "release" {
        String::new()
    } else {
        format!(
            "\n**This was a {} build: the figures are of no use.**\n",
            fact("profile")
        )
    };
    format!(
        "## Method\n\n\
         {} processes run as clients at once, each over one connection. A client looks a random stock up, trades with probability p (buys or sells 1 to 10 of it), and goes on at once; \
         at the end it reads back each of its orders and compares it (the *final check*). Times are what the client waits, repeats included; the first tenth of the trading is warm-up and does not count.\n\n\
         Each setting of cache and p was measured in {} of {} s (at a distance {} s), in random sequence (seed {}), so that a slow spell of the machine does not meet one setting. \
         Intervals are 95 % bootstrap intervals: slices of {} ms, with all requests that began in them, are drawn {} times, since what happens at one time is slow together; an interval of the maximum only tells how much hangs on single requests. \
         {stocks}\n{debug}\n\
         | machine | |\n|---|---|\n| processor | {}, {} cores |\n| memory | {} GiB |\n| system | {} |\n| load before the run | {} |\n| program | version {}, commit {}, {} build |\n| measured | {}, in {} s |\n",
        fact("clients"),
        count(fact("rounds").parse().unwrap_or(0), "round"),
        fact("trade_s"),
        fact("distance_trade_s"),
        fact("seed"),
        fact("slice_ms"),
        fact("resamples"),
        fact("cpu"),
        fact("cores"),
        fact("memory_gib"),
        fact("kernel"),
        fact("load_before"),
        fact("version"),
        fact("commit"),
        fact("profile"),
        fact("date"),
        fact("took_s"),
    )
}

fn replacement(measured: &Measured, folder: &str) -> String {
    let rows = &measured.replacement;
    let Some(last) = rows.last() else {
        return "## Cache replacement\n\nNot measured: the cache could not be made smaller than the number of stocks, or not be looked into.\n".into();
    };
    let most = rows
        .iter()
        .map(|row| row.cached.split_whitespace().count())
        .max()
        .unwrap_or(0);
    let pushed_out = rows.windows(2).filter(|pair| {
        let after: Vec<&str> = pair[1].cached.split(' ').collect();
        // What an order took out was invalidated, not pushed out.
        pair[1].request == "lookup"
            && pair[0]
                .cached
                .split_whitespace()
                .any(|name| !after.contains(&name))
    });
    let oldest = pushed_out.clone().filter(|pair| {
        let oldest = pair[0].cached.split(' ').next_back().unwrap_or_default();
        !pair[1].cached.split(' ').any(|name| name == oldest)
    });
    let (pushed_out, oldest) = (pushed_out.count(), oldest.count());
    let orders = rows.iter().filter(|row| row.request == "order");
    let gone = orders
        .clone()
        .filter(|row| !row.cached.split(' ').any(|name| name == row.name))
        .count();
    let hits = rows.iter().filter(|row| row.hit).count();
    format!(
        "## Cache replacement\n\n\
         The cache was given room for {} stocks. First each stock is looked up once; then two favourites again and again between others; at the end orders for a favourite. \
         It never held more than {most}. Of {} that pushed a stock out, {oldest} pushed out the one that had not been used for longest. Of {}, {gone} left the stock out of the cache at once. {hits} of {} were hits.\n\n\
         ![which stocks the cache holds]({folder}/replacement.svg)\n",
        last.capacity,
        count(pushed_out, "lookup"),
        count(orders.count(), "order"),
        count(
            rows.iter().filter(|row| row.request == "lookup").count(),
            "lookup"
        ),
    )
}

fn threats(measured: &Measured) -> String {
    let mut threats = Vec::new();
    if measured.fact("place") == "elsewhere" {
        threats
            .push("The network between clients and bazaar was as it was at that hour.".to_owned());
    } else {
        threats.push(format!(
            "Clients, all services and their disk share one machine with {} cores. Five clients that never pause keep it busy, so part of each time is waiting for a core; what the cache saves the catalog \
             comes back to others as processor time. On several machines a lookup that misses pays a network hop more, which one machine does not show.",
            measured.fact("cores")
        ));
        threats.push(
            "The emulated distance only delays: no loss, no jitter, no limit of bandwidth."
                .to_owned(),
        );
        threats.push("Processes were killed, not machines: no disk lost its cache, no network broke. `make faults` (docs/failures.md) does more of that, without measuring.".to_owned());
    }
    threats.push("The clients are closed loops: a client that waits asks nothing meanwhile, so long waits are counted once where independent users would meet them many times.".to_owned());
    threats.push("Stocks are drawn evenly. Real traffic has favourites, for which a cache does more; p is the same for all clients.".to_owned());
    threats.push("Intervals are drawn from slices of time: what lasts longer than a slice, or differs from round to round, makes them narrower than they should be. The comparisons are many, and not corrected for their number: a single difference that its neighbours do not show may be chance.".to_owned());
    threats.push(format!(
        "A run is short ({} s a round) and of one hour of one day; the intervals hold for that hour. The load of the machine before the run was {}.",
        measured.fact("trade_s"),
        measured.fact("load_before")
    ));
    let lines: String = threats
        .iter()
        .map(|threat| format!("- {threat}\n"))
        .collect();
    format!("## Threats to validity\n\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{Fact, ReplacementRow};

    /// Nothing measured is said, and nothing is judged.
    #[test]
    fn nothing_measured() {
        let text = write(&Measured::default(), "evaluation");
        assert!(text.contains("Not measured"), "{text}");
        assert!(
            !text.contains("no order was lost") && !text.contains("NaN"),
            "{text}"
        );
    }

    /// Replacement is judged by the rows.
    #[test]
    fn replacement_is_counted() {
        let row = |step, request: &str, name: &str, hit, cached: &str| ReplacementRow {
            step,
            capacity: 2,
            request: request.into(),
            name: name.into(),
            hit,
            cached: cached.into(),
        };
        let rows = vec![
            row(1, "lookup", "a", false, "a"),
            row(2, "lookup", "b", false, "b a"),
            row(3, "lookup", "c", false, "c b"),
            row(4, "lookup", "d", false, "d b"),
            row(5, "order", "b", false, "d"),
        ];
        let facts = vec![Fact::new("place", "here")];
        let measured = Measured {
            replacement: rows,
            facts,
            ..Measured::default()
        };
        let text = replacement(&measured, "evaluation");
        assert!(
            text.contains("Of 2 lookups that pushed a stock out, 1 pushed out the one"),
            "{text}"
        );
        assert!(text.contains("Of 1 order, 1 left the stock out"), "{text}");
    }
}
