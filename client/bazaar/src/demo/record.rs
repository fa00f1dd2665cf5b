//! The record of a demo: the lab's output file.

use super::{Line, Shown, Tone, picture};
use std::fs;
use std::path::Path;

/// Writes the document, and two pictures into a folder of its name beside it.
pub(super) fn write(document: &Path, lines: &[Line], shown: &Shown) -> Result<(), String> {
    let folder = document.with_extension("");
    let explain = |path: &Path, e: std::io::Error| format!("cannot write {}: {e}", path.display());
    fs::create_dir_all(&folder).map_err(|e| explain(&folder, e))?;
    let (calm, crash) = parts(lines);
    for (name, lines) in [("start.svg", calm), ("crash.svg", crash)] {
        let path = folder.join(name);
        fs::write(&path, picture::draw(lines)).map_err(|e| explain(&path, e))?;
    }
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    fs::write(document, text(lines, shown, &name)).map_err(|e| explain(document, e))
}

/// The lines before the trading, and those of the trading.
fn parts(lines: &[Line]) -> (&[Line], &[Line]) {
    let heading =
        |from: usize| (from..lines.len()).find(|at| *at > from && lines[*at].tone == Tone::Heading);
    // The third heading begins the trading, the fourth the final check.
    let second = heading(0).unwrap_or(lines.len());
    let third = heading(second).unwrap_or(lines.len());
    let fourth = heading(third).unwrap_or(lines.len());
    let trimmed = |mut end: usize, begin: usize| {
        while end > begin && lines[end - 1].text.is_empty() {
            end -= 1;
        }
        &lines[begin..end]
    };
    (trimmed(third, 0), trimmed(fourth, third))
}

fn text(lines: &[Line], shown: &Shown, pictures: &str) -> String {
    let transcript: String = lines
        .iter()
        .map(|line| format!("{}\n", line.text))
        .collect();
    let report = &shown.report;
    let noticed = |noticed| if noticed { "**yes**" } else { "**no**" };
    let slowest = report
        .requests
        .iter()
        .map(|row| row.times.max_ms)
        .fold(0.0, f64::max);
    let retries: u64 = report.requests.iter().map(|row| row.retries).sum();
    let why = if shown.pause_failover > shown.failover {
        ": a paused process refuses no connection, so only a time-out shows its failure"
    } else {
        ""
    };
    let failed: u64 = report
        .requests
        .iter()
        .map(|row| row.unanswered + row.unexpected)
        .sum();
    format!(
        "# Output\n\n\
         This page is the output of `make demo`. The demo starts a bazaar, trades with five\n\
         clients, kills the leader and brings it back, pauses the next leader, and compares the\n\
         files. `target/release/bazaar demo --record docs/output.md` writes this page anew. One\n\
         machine recorded it; [evaluation.md](evaluation.md) has the numbers of a whole \
         evaluation.\n\n\
         - Did the clients notice a failure **during order requests**? {}.\n\
         - Did they notice one **in the final order check**? {}.\n\
         - They repeated {retries} attempts; {failed} requests got no answer or a wrong one.\n  \
         The slowest answer took {slowest:.0} ms.\n\
         - The next leader was known {} ms after the kill, and {} ms after the\n  pause{why}.\n\
         - The clients got {} orders acknowledged; {} of them differ, are missing or share a\n  \
         number.\n\
         - Did all replicas end up with the same file? {}.\n\n\
         ![the start, and reads from the cache]({pictures}/start.svg)\n\n\
         ![clients trade while the leader is killed and the next one paused]\
         ({pictures}/crash.svg)\n\n\
         ## All of it\n\n```text\n{transcript}```\n",
        noticed(report.noticed_during_orders),
        noticed(report.noticed_in_final_check),
        shown.failover.as_millis(),
        shown.pause_failover.as_millis(),
        report.acknowledged,
        report.mismatches.len(),
        if shown.files_equal {
            "**Yes**"
        } else {
            "**No**"
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::report::Report;
    use client::workload::{Options, Outcome};
    use std::time::Duration;

    /// The page has the results of the run, its output, and both pictures.
    #[test]
    fn page() {
        let line = |tone, text: &str| Line {
            tone,
            text: text.into(),
        };
        let lines = [
            line(Tone::Heading, "one"),
            line(Tone::Heading, "two"),
            line(Tone::Plain, ""),
            line(Tone::Heading, "three"),
            line(Tone::Bad, "killed"),
            line(Tone::Heading, "four"),
        ];
        let outcome = Outcome {
            noticed_during_orders: true,
            ..Outcome::default()
        };
        let report = Report::new(&Options::new("http://a:1"), &outcome);
        let ms = Duration::from_millis;
        let shown = Shown {
            report,
            files_equal: true,
            failover: ms(41),
            pause_failover: ms(342),
        };
        let folder = tempfile::tempdir().expect("a folder");
        let document = folder.path().join("output.md");
        write(&document, &lines, &shown).expect("written");
        let text = fs::read_to_string(&document).expect("there");
        for part in [
            "requests**? **yes**",
            "final order check**? **no**",
            "41 ms after the kill",
            "](output/crash.svg)",
            "killed\nfour\n",
        ] {
            assert!(text.contains(part), "'{part}' is missing: {text}");
        }
        let crash = fs::read_to_string(folder.path().join("output/crash.svg")).expect("there");
        assert!(
            crash.contains(">killed<") && !crash.contains(">four<") && !crash.contains(">two<"),
            "{crash}"
        );
    }
}
