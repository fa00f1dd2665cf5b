//! The launcher's output: log lines, each with a prefix in its service's colour, and the launcher's
//! own messages.

use super::{Action, DEFAULT_FOLDER, command};
use cluster::service::Service;
use common::terminal::{escape, escape_lines, json_string, shell_word};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::io::{self, IsTerminal, Write};
use std::path::Path;

const RESET: &str = "\x1b[0m";
const LOUD: &str = "\x1b[1;97;41m";
const OWN: &str = "\x1b[1m";

/// Standard output. It ignores write errors: a terminal that has gone away must not end the
/// bazaar.
pub(super) struct Screen {
    colour: bool,
}

impl Screen {
    /// Colour only on a terminal, and not where <https://no-color.org> is asked for.
    pub(super) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: io::stdout().is_terminal() && !unwanted,
        }
    }

    /// A line of a service's log.
    pub(super) fn log_line(&mut self, service: Service, line: &str) {
        let prefix = format!("{service:9}|");
        print(&format!(
            "{} {}\n",
            self.paint(colour_of(service), &prefix),
            escape(line)
        ));
    }

    pub(super) fn note(&mut self, text: &str) {
        print(&format!(
            "{}\n",
            self.paint(OWN, &format!("{:9}| {}", "bazaar", escape(text)))
        ));
    }

    /// A warning in capitals, with its remedy.
    pub(super) fn loud(&mut self, what: &str, remedy: &str) {
        let line = "!".repeat(78);
        let (what, remedy) = (what.to_uppercase(), escape(remedy));
        let text = format!("{line}\n!!  {}\n!!  {remedy}\n{line}", escape(&what));
        let painted: Vec<String> = text
            .lines()
            .map(|line| self.paint(LOUD, &format!("{line:78}")))
            .collect();
        print(&format!("\n{}\n\n", painted.join("\n")));
    }

    /// The first steps for a newcomer.
    pub(super) fn welcome(&mut self, url: &str, stock: &str, folder: &Path) {
        let headline = self.paint(OWN, &format!("The bazaar is open at {}", escape(url)));
        print(&format!(
            "\n{headline}\n\n{}\n",
            invitation(url, stock, folder)
        ));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("{colour}{text}{RESET}")
        } else {
            text.into()
        }
    }
}

/// Lines that a user may paste into a shell. The name of the stock comes from the bazaar, not from
/// the user, so every word is quoted, and in a URL percent-encoded.
fn invitation(url: &str, stock: &str, folder: &Path) -> String {
    let more = if folder == Path::new(DEFAULT_FOLDER) {
        "  make client P=0.6 N=200    a client that trades and checks every order\n".to_owned()
    } else {
        let url = shell_word(url);
        format!("  client --url {url}    trades and checks every order\n")
    };
    let kill = command(folder, Action::Kill, &Service::Order(3));
    let restart = command(folder, Action::Restart, &Service::Order(3));
    let at = |path: &str| shell_word(&format!("{url}{path}")).into_owned();
    let named = utf8_percent_encode(stock, NON_ALPHANUMERIC);
    let order = format!(
        "{{\"name\":{},\"quantity\":1,\"type\":\"buy\"}}",
        json_string(stock)
    );
    let text = format!(
        "Try, in another terminal:\n\
         \x20 curl {}\n\
         \x20 curl -d {} {}\n\
         \x20 curl {}\n\
         {more}\
         \x20 {kill}    kills a replica; bring it back with: {restart}\n\n\
         Ctrl-C stops everything. State and logs are in {}.\n",
        at(&format!("/stocks/{named}")),
        shell_word(&order),
        at("/orders"),
        at("/orders/0"),
        folder.display()
    );
    escape_lines(&text).into_owned()
}

fn colour_of(service: Service) -> &'static str {
    match service {
        Service::Catalog | Service::OtherCatalog(_) => "\x1b[33m",
        Service::Order(1) => "\x1b[36m",
        Service::Order(2) => "\x1b[34m",
        Service::Order(_) => "\x1b[35m",
        Service::Frontend(_) => "\x1b[32m",
    }
}

fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The lines run curl with the intended words and nothing else, whatever the name of the stock.
    #[test]
    fn a_stocks_name_runs_nothing_when_pasted() {
        for stock in [
            "GameStart",
            "'; touch x; echo '",
            "$(touch x)`touch x`",
            "a/b?c#d &|;",
            "quote\" \\",
            "\u{202e}turned",
        ] {
            let text = invitation("http://127.0.0.1:8080", stock, Path::new(DEFAULT_FOLDER));
            assert!(
                text.chars()
                    .all(|c| c == '\n' || common::terminal::is_inert(c))
            );
            let folder = tempfile::tempdir().expect("a folder");
            let lines: Vec<&str> = text.lines().filter(|line| line.contains("curl")).collect();
            let script = format!("curl() {{ printf '%s\\n' \"$@\"; }}\n{}", lines.join("\n"));
            let ran = Command::new("sh")
                .args(["-c", &script])
                .current_dir(folder.path())
                .output()
                .expect("a shell");
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            let words: Vec<&str> = said.lines().collect();
            assert_eq!(words.len(), 5, "{text}\n{said}");
            let order: serde_json::Value = serde_json::from_str(words[2]).expect("JSON");
            assert_eq!(order["name"], stock);
            let name = words[0].rsplit_once("/stocks/").expect("a URL").1;
            let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            assert_eq!(decoded, stock);
            let left = std::fs::read_dir(folder.path()).expect("a folder").count();
            assert_eq!(left, 0, "{stock} ran something");
        }
    }
}
