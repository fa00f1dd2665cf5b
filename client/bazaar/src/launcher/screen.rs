//! What the launcher prints: a prefix per service, in its own colour on a terminal, and the
//! launcher's own words.

use super::{Action, DEFAULT_FOLDER, command};
use cluster::service::Service;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

const RESET: &str = "\x1b[0m";
const LOUD: &str = "\x1b[1;97;41m";
const OWN: &str = "\x1b[1m";

/// Standard output. What cannot be written is lost: a terminal that has gone away must not end the
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
            "{} {line}\n",
            self.paint(colour_of(service), &prefix)
        ));
    }

    /// A line of the launcher.
    pub(super) fn note(&mut self, text: &str) {
        print(&format!(
            "{}\n",
            self.paint(OWN, &format!("{:9}| {text}", "bazaar"))
        ));
    }

    /// What nobody may miss.
    pub(super) fn loud(&mut self, what: &str, remedy: &str) {
        let line = "!".repeat(78);
        let text = format!("{line}\n!!  {}\n!!  {remedy}\n{line}", what.to_uppercase());
        let painted: Vec<String> = text
            .lines()
            .map(|line| self.paint(LOUD, &format!("{line:78}")))
            .collect();
        print(&format!("\n{}\n\n", painted.join("\n")));
    }

    /// What a newcomer can do now.
    pub(super) fn welcome(&mut self, url: &str, stock: &str, folder: &Path) {
        let headline = self.paint(OWN, &format!("The bazaar is open at {url}"));
        let more = if folder == Path::new(DEFAULT_FOLDER) {
            "  make client P=0.6 N=200    a client that trades and checks every order\n".to_owned()
        } else {
            format!("  client --url {url}    trades and checks every order\n")
        };
        let kill = command(folder, Action::Kill, &Service::Order(3));
        let restart = command(folder, Action::Restart, &Service::Order(3));
        print(&format!(
            "\n{headline}\n\nTry, in another terminal:\n\
             \x20 curl {url}/stocks/{stock}\n\
             \x20 curl -d '{{\"name\":\"{stock}\",\"quantity\":1,\"type\":\"buy\"}}' {url}/orders\n\
             \x20 curl {url}/orders/0\n\
             {more}\
             \x20 {kill}    kills a replica; bring it back with: {restart}\n\n\
             Ctrl-C stops everything. State and logs are in {}.\n\n",
            folder.display()
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

fn colour_of(service: Service) -> &'static str {
    match service {
        Service::Catalog => "\x1b[33m",
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
