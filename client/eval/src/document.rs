//! The document, from the CSV files alone. The numbers choose the conclusions: no sentence here
//! assumes that the cache helps, or that no order is lost.

mod appendix;
mod crashes;
mod latency;
mod load;
mod words;

use super::tables::Measured;
use words::{count, wrapped};

/// Returns the document. `folder` is the folder of the plots, as the document links to it.
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
    wrapped(&sections.join("\n"))
}

fn head(measured: &Measured, folder: &str) -> String {
    let elsewhere = measured.fact("place") == "elsewhere";
    let place = if elsewhere {
        "The bazaar ran elsewhere; the clients ran on the machine that is described below."
    } else if measured.fact("ec2") == "yes" {
        "**One EC2 machine ran the clients and all services.**"
    } else {
        "**One machine, which was not on EC2, ran the clients and all services.**"
    };
    let minutes = measured
        .fact("took_s")
        .parse::<u64>()
        .map_or(0, |s| s.div_ceil(60));
    format!(
        "# Evaluation\n\n\
         `make eval` measures a bazaar and then writes this page. Numbers, conclusions and plots \
         are generated from the CSV files in [`{folder}/`]({folder}); a test checks that they \
         agree. {place}\n\n\
         [docs/ec2](ec2/README.md) has the steps for AWS, from an empty account to this page with \
         the numbers of EC2.\n\n\
         - `make eval` starts a bazaar of its own and takes about {minutes} minutes. \
         `make eval-quick` runs every experiment once, in less than a minute.\n\
         - `make eval URL=http://host:8080` measures a bazaar that runs elsewhere. Experiments \
         without a command are skipped, and this page names them. The settings are: \
         `INTERNAL=` (URL of the front-end's internal listener; the variable `BAZAAR_TOKEN` holds \
         its token), `FRONTEND=` (command that restarts the front-end with `{{cache}}` and \
         `{{size}}`), `KILL=`, `RESTART=`, `PAUSE=`, `RESUME=` (commands; `{{id}}` is the \
         replica), and `VERIFY=`, `DUMP=` (commands that print `order verify` and `order dump`).\n"
    )
}

fn method(measured: &Measured) -> String {
    let fact = |name| measured.fact(name);
    let stocks = if fact("place") == "elsewhere" {
        "The clients trade the stocks of that bazaar. A refused order does not count as an order."
    } else {
        "The bazaar is a release build with one front-end and three replicas; each replica has a \
         file of its own and one fsync a batch. It has 14 stocks, each with so large a quantity \
         that it refuses no order."
    };
    let debug = if fact("profile") == "release" {
        String::new()
    } else {
        format!(
            "\n**This was a {} build: do not use its numbers.**\n",
            fact("profile")
        )
    };
    format!(
        "## Method\n\n\
         {} client processes run at once, each over one connection. A client looks a random stock \
         up, trades with probability p (it buys or sells 1 to 10), and goes on at once. At the \
         end it reads each of its orders back and compares it (the *final check*). A time is as \
         long as the client waits, repeats included. The first tenth of the trading is warm-up \
         and does not count.\n\n\
         Each setting of cache and p ran for {} of {} s (at a distance {} s). The sequence is \
         random (seed {}), so that a slow minute of the machine does not meet one setting only. \
         Intervals are 95 % bootstrap intervals. Requests of one moment are slow together, so \
         the bootstrap draws slices of {} ms with all requests that began in them, {} times. The \
         interval of a maximum only shows how much depends on single requests. \
         {stocks}\n{debug}\n\
         | machine | |\n|---|---|\n\
         | processor | {}, {} cores |\n\
         | memory | {} GiB |\n\
         | system | {} |\n\
         | load before the run | {} |\n\
         | program | version {}, commit {}, {} build |\n\
         | measured | {}, in {} s |\n",
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
        return "## Cache replacement\n\n\
                Not measured: no command could make the cache smaller than the number of stocks, \
                or the internal listener did not show its content.\n"
            .into();
    };
    let most = rows
        .iter()
        .map(|row| row.cached.split_whitespace().count())
        .max()
        .unwrap_or(0);
    let pushed_out = rows.windows(2).filter(|pair| {
        let after: Vec<&str> = pair[1].cached.split(' ').collect();
        // An order invalidates its stock: that is no replacement.
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
         The cache had room for {} stocks. A client looked each stock up once, then two favourites \
         again and again between others, and at the end it ordered one favourite. The cache never \
         held more than {most} stocks. Of {} that pushed a stock out, {oldest} pushed out the \
         least recently used one. Of {}, {gone} removed the stock from the cache at once. {hits} \
         of {} were hits.\n\n\
         ![stocks in the cache after each request]({folder}/replacement.svg)\n",
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
        threats.push("The network between clients and bazaar was that of one hour.".to_owned());
    } else {
        threats.push(format!(
            "Clients, all services and their disk share one machine with {} cores. Five clients \
             that never pause keep it busy, so each time contains a wait for a core. The cache \
             saves the catalog processor time, which other requests then use. On several machines \
             a miss costs one more network hop, which one machine does not show.",
            measured.fact("cores")
        ));
        threats.push(
            "The emulated distance only delays. It loses nothing, has no jitter and no limit of \
             bandwidth."
                .to_owned(),
        );
        threats.push(
            "The experiments kill processes, not machines: no disk loses its cache, and no \
             network breaks. `make faults` (docs/failures.md) breaks networks too, without \
             measuring."
                .to_owned(),
        );
    }
    for threat in [
        "The clients are closed loops: a client that waits sends nothing meanwhile. So a long \
         wait counts once, where independent users would meet it many times.",
        "The clients draw stocks evenly, and p is the same for all. Real traffic has favourites, \
         and a cache saves more there.",
        "The bootstrap draws slices of time. An effect that lasts longer than a slice, or differs \
         between rounds, makes the intervals too narrow.",
        "The comparisons are many, and no correction is made for their number. A single \
         difference that its neighbours do not show may be chance.",
    ] {
        threats.push(threat.to_owned());
    }
    threats.push(format!(
        "A run is short ({} s a round), and the intervals hold for its hour only. The load of the \
         machine before the run was {}.",
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

    /// Without measurements the document says so, and draws no conclusion.
    #[test]
    fn nothing_measured() {
        let text = write(&Measured::default(), "evaluation");
        assert!(text.contains("Not measured"), "{text}");
        assert!(
            !text.contains("no order was lost") && !text.contains("NaN"),
            "{text}"
        );
    }

    /// The numbers of the section on replacement come from the rows.
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
            text.contains("Of 2 lookups that pushed a stock out, 1 pushed out the least"),
            "{text}"
        );
        assert!(text.contains("Of 1 order, 1 removed the stock"), "{text}");
    }
}
