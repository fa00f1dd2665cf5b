//! The page and its live feed over HTTP.

mod support;

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{Bazaar, wait_for};

/// One who watches.
struct Viewer(BufReader<TcpStream>);

impl Viewer {
    /// Begins to watch, and reads the head of the answer.
    fn new(bazaar: &Bazaar) -> Self {
        let mut stream = TcpStream::connect(bazaar.frontend.address()).expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("is open");
        stream
            .write_all(b"GET /events HTTP/1.1\r\nHost: bazaar\r\n\r\n")
            .expect("is sent");
        let mut viewer = Self(BufReader::new(stream));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(viewer.line()).filter(|line| !line.is_empty())).collect();
        assert_eq!(head[0], "HTTP/1.1 200 OK");
        assert!(
            head.contains(&"Content-Type: text/event-stream".into()),
            "{head:?}"
        );
        viewer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0
            .read_line(&mut line)
            .expect("something comes each second");
        line.trim_end().into()
    }

    /// The next event: name and data.
    fn event(&mut self) -> (String, Value) {
        let (name, data, end) = (self.line(), self.line(), self.line());
        assert_eq!(end, "");
        let data = data
            .strip_prefix("data: ")
            .and_then(|data| serde_json::from_str(data).ok());
        (
            name.strip_prefix("event: ").expect("a name").into(),
            data.expect("JSON"),
        )
    }

    /// Reads on until something that fits comes.
    fn wait(&mut self, what: &str, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let (n, data) = self.event();
            if n == name && fits(&data) {
                return data;
            }
            assert!(Instant::now() < until, "never came: {what}");
        }
    }
}

/// The quantity of a stock in the data of a `stocks` event.
fn quantity(data: &Value, name: &str) -> Option<u64> {
    data["stocks"]
        .as_array()?
        .iter()
        .find(|stock| stock["name"] == name)?["quantity"]
        .as_u64()
}

/// The page and each of its files are served with their type and the strict fields, to HEAD too;
/// nothing else takes POST.
#[test]
fn page() {
    let bazaar = Bazaar::ready();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/feed.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = bazaar.client.get(path);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some(content_type)),
            "{path}"
        );
        assert!(
            answer
                .header("content-security-policy")
                .is_some_and(|policy| policy.contains("default-src 'none'"))
        );
        assert!(answer.text.len() > 100, "{path}");
        assert_eq!(bazaar.client.send("HEAD", path, &[], "").status, 200);
        assert_eq!(bazaar.client.post(path, "{}").status, 405);
    }
    assert_eq!(bazaar.client.post("/events", "{}").status, 405);
}

/// A subscriber gets the status, the leader and the stocks; then each trade as the stock that
/// changed; and an event each second.
#[test]
fn watching() {
    let mut bazaar = Bazaar::ready();
    let mut viewer = Viewer::new(&bazaar);
    viewer.wait("a leader", "status", |status| status["leader"] == 3);
    viewer.wait("the table", "stocks", |data| {
        data["all"] == true && quantity(data, "FishCo") == Some(100)
    });
    bazaar.client.buy("FishCo", 30);
    let changed = viewer.wait("the trade", "stocks", |data| {
        quantity(data, "FishCo") == Some(70)
    });
    assert_eq!(
        (&changed["all"], changed["stocks"].as_array().map(Vec::len)),
        (&false.into(), Some(1))
    );
    // Another one: that of the first may have been sent before the table was read.
    bazaar.client.buy("FishCo", 1);
    viewer.wait("the load", "load", |samples| {
        samples[0]["orders"]["per_s"].as_f64() > Some(0.0)
    });
    for _ in 0..2 {
        let began = Instant::now();
        viewer.wait("the heartbeat", "load", |samples| {
            samples[0]["viewers"] == 1
        });
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "something comes each second, also when nothing happens"
        );
    }
    bazaar.replicas[2].kill();
    viewer.wait("the next leader", "timeline", |entries| {
        entries.as_array().is_some_and(|entries| {
            entries
                .iter()
                .any(|entry| entry["text"] == "Replica 2 leads in term 2, after replica 3")
        })
    });
    // A later subscriber gets the entries of before.
    let entries = Viewer::new(&bazaar).wait("the past", "timeline", |_| true);
    assert!(
        entries.as_array().is_some_and(|all| all.len() >= 2),
        "{entries}"
    );
}

/// Viewers are counted while they watch; when the last one has left, the catalog is not read for
/// them any more.
#[test]
fn leaving() {
    let bazaar = Bazaar::ready();
    let viewers: Vec<Viewer> = (0..3).map(|_| Viewer::new(&bazaar)).collect();
    wait_for("three watch", || {
        bazaar.metric("bazaar_edge_subscribers") == 3.0
    });
    drop(viewers);
    wait_for("none watches", || {
        bazaar.metric("bazaar_edge_subscribers") == 0.0
    });
}

/// A client that polls gets a response that ends, with all events as they stand and the time to
/// come again; so does every subscriber where the server cannot stream.
#[test]
fn polling() {
    for (server, path) in [("edge", "/events?poll"), ("tiny_http", "/events")] {
        let bazaar = Bazaar::with(|_, _| {}, &[("FRONTEND_SERVER", server)]);
        bazaar.wait_ready();
        let answer = bazaar.client.get(path);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("text/event-stream")),
            "{server}"
        );
        assert!(
            answer.text.starts_with("retry: 2000\n\n"),
            "{}",
            answer.text
        );
        wait_for("the stocks are read", || {
            bazaar.client.get(path).text.contains("\"FishCo\"")
        });
        wait_for("the leader is shown", || {
            bazaar.client.get(path).text.contains("Replica 3 leads")
        });
    }
}
