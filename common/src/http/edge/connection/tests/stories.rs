//! The rules of a connection as stories: each script in `../scripts` is one case, named by the
//! sentence that it shows. `UPDATE_GOLDENFILES=1 cargo test -p common connection` writes the
//! results anew.
//!
//! | command | effect |
//! |---|---|
//! | `open`, `open body-limit=N` | a new connection |
//! | `budgets bodies=N outputs=N` | memory that all connections of the story share |
//! | `send TEXT…` | the client sends, and reads what comes back |
//! | `drip TEXT… in=MS` | it sends byte after byte, evenly, until a response comes |
//! | `end` | it ends its side |
//! | `stop-reading`, `read N`, `read` | it leaves output unread, takes so many bytes, takes all |
//! | `answer STATUS TEXT…` | the handler's response |
//! | `event TEXT…` | an event of the feed |
//! | `wait MS` | time passes |
//! | `stop` | the server stops |
//! | `refuse` | the connection is one over the limit |
//! | `close` | the connection is dropped |
//! | `serve TEXT…` | `open`, `send`, and every request is answered with 200 and `ok` |
//! | `permit`, `permits` | takes the feed's only permit; says whether it is free |
//! | `memory` | the buffers that the connection holds |
//!
//! A text is a literal, a request by its name (`CACHED`, `OTHER`, `POST`, `FEED`), or one of them
//! so many times (`x=300`). A prefix names one of several connections.
//!
//! Below the line: `<` responses, `>` requests that reached the handler, refusals that were
//! counted, and the state with the time that is left in it, where that changed. Fields that every
//! response has are left out, unless the command has the tag `[heads]`. Equal responses in a
//! row and long runs of one letter are counted.

use super::{FEED, GET, OTHER, POST, TestConnection, small};
use crate::http::Response;
use crate::http::edge::budget::Budget;
use crate::http::edge::connection::{Connection, State};
use crate::http::edge::limits::Limits;
use crate::http::edge::refusal::RefusalReason;
use crate::http::edge::subscribers::Permit;
use crate::wire::public::ErrorBody;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use stories::{Argument, ArgumentConsumer, Command, Context, Failure, Runner, key, parse, word};

/// Fields of a response that are shown only on demand.
const USUAL: [&str; 6] = [
    "Content-Type",
    "Content-Length",
    "Date",
    "X-Content-Type-Options",
    "X-Request-Id",
    "Cache-Control",
];

struct Story {
    connections: BTreeMap<String, Shown>,
    bodies: Arc<Budget>,
    outputs: Arc<Budget>,
    /// Permits that the story itself holds.
    permits: Vec<Permit>,
}

/// A connection, its client, and the state that the script shows already.
struct Shown {
    test: TestConnection,
    reads: bool,
    state: String,
}

impl Story {
    fn new() -> Self {
        Self {
            connections: BTreeMap::new(),
            bodies: Budget::new(1_000),
            outputs: Budget::new(1_000_000),
            permits: Vec::new(),
        }
    }

    fn open(&self, body_limit: Option<usize>) -> Shown {
        let test = TestConnection {
            bodies: Arc::clone(&self.bodies),
            outputs: Arc::clone(&self.outputs),
            limits: Limits {
                body_bytes: body_limit.unwrap_or(small().body_bytes),
                ..small()
            },
            ..TestConnection::new()
        };
        Shown {
            test,
            reads: true,
            state: String::new(),
        }
    }
}

/// The rest of a command as bytes.
fn text(words: &mut ArgumentConsumer<'_>) -> Result<Vec<u8>, Failure> {
    let named = |word: &str| match word {
        "CACHED" => GET.to_owned(),
        "OTHER" => OTHER.to_owned(),
        "POST" => POST.to_owned(),
        "FEED" => FEED.to_owned(),
        literal => literal.to_owned(),
    };
    let mut bytes = Vec::new();
    for argument in words {
        let (text, times) = match argument {
            Argument::KeyValue(text, times) => (named(text), parse(times)?),
            Argument::Positional(text) => (named(text), 1),
            _ => return Err(format!("'{argument}' is no text").into()),
        };
        bytes.extend_from_slice(text.repeat(times).as_bytes());
    }
    Ok(bytes)
}

/// Text in one line, with long runs of one letter shortened.
fn brief(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut brief = String::new();
    let letters: Vec<char> = text.chars().collect();
    for run in letters.chunk_by(|a, b| a == b) {
        if run.len() > 20 {
            write!(brief, "({} times {})", run.len(), run[0]).expect("a text");
        } else {
            brief.extend(run.iter().flat_map(|letter| letter.escape_debug()));
        }
    }
    brief.replace("\\\"", "\"").replace("\\'", "'")
}

impl Shown {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.test.connection.wants_input() {
            return Err("the connection takes no input".into());
        }
        self.test
            .context(|connection, context| connection.receive(bytes, context));
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        if self.reads {
            self.test.flush();
        }
    }

    fn answer(&mut self, response: &Response) {
        self.test
            .context(|connection, context| connection.answer(response, context));
        self.flush();
    }

    fn pass(&mut self, time: Duration) {
        self.test.now += time;
        self.test
            .context(|connection, context| connection.expire(context));
        self.flush();
    }

    /// Sends byte after byte; says how many it took until a response came.
    fn drip(&mut self, bytes: &[u8], time: Duration) -> Result<String, Failure> {
        let step = time / u32::try_from(bytes.len())? + Duration::from_nanos(1);
        for (i, byte) in bytes.iter().enumerate() {
            self.send(&[*byte])?;
            self.pass(step);
            if !self.test.written.is_empty() {
                return Ok(format!("after {} of {} bytes:\n", i + 1, bytes.len()));
            }
        }
        Ok("no response\n".into())
    }

    /// Everything that came out since the last call.
    fn show(&mut self, heads: bool) -> String {
        let mut text = String::new();
        let reasons = std::mem::take(&mut self.test.handlers.reasons);
        self.responses(heads, &reasons, &mut text);
        for request in self.test.handlers.requests.drain(..) {
            let query = request
                .query
                .map_or(String::new(), |query| format!("?{query}"));
            let (method, path) = (&request.method, &request.path);
            write!(
                text,
                "> {method} {path}{query} \"{}\"",
                brief(&request.body)
            )
            .expect("a text");
            if heads {
                let fields = request.headers.0.iter();
                let fields: Vec<_> = fields
                    .map(|(name, value)| format!("{name}: {value}"))
                    .collect();
                write!(text, ", trace {}, {}", request.trace, fields.join(", ")).expect("a text");
            }
            text.push('\n');
        }
        for reason in reasons {
            writeln!(text, "refused: {reason:?}").expect("a text");
        }
        let state = self.describe_state();
        if state != self.state {
            writeln!(text, "=> {state}").expect("a text");
            self.state = state;
        }
        text
    }

    fn responses(&mut self, heads: bool, reasons: &[RefusalReason], text: &mut String) {
        let written = self.test.take_written();
        let mut rest = written.as_str();
        let mut lines: Vec<String> = Vec::new();
        while !rest.is_empty() {
            let next = rest[1..].find("HTTP/1.1 ").map_or(rest.len(), |at| at + 1);
            let (response, after) = rest.split_at(next);
            rest = after;
            let Some(response) = response.strip_prefix("HTTP/1.1 ") else {
                lines.push(format!("< \"{}\"", brief(response.as_bytes())));
                continue;
            };
            let (head, body) = response.split_once("\r\n\r\n").unwrap_or((response, ""));
            let mut fields = head.lines();
            let status = fields.next().unwrap_or_default();
            let fields = fields.filter(|line| {
                let name = line.split(':').next().unwrap_or_default();
                heads || !USUAL.contains(&name)
            });
            let shown: Vec<_> = [status].into_iter().chain(fields).collect();
            lines.push(format!(
                "< {} \"{}\"",
                shown.join(", "),
                brief(body.as_bytes())
            ));
            if rest.is_empty() && !reasons.is_empty() {
                assert_refusal(head, body);
            }
        }
        for run in lines.chunk_by(|a, b| a == b) {
            let times = match run.len() {
                1 => String::new(),
                n => format!(", {n} times"),
            };
            writeln!(text, "{}{times}", run[0]).expect("a text");
        }
    }

    fn describe_state(&self) -> String {
        let connection = &self.test.connection;
        let mut text = String::from(match &connection.state {
            State::Head { since: None, .. } => "between requests",
            State::Head { since: Some(_), .. } => "in a head",
            State::Body(_) => "in a body",
            State::Waiting(_) => "with the handler",
            State::Following { .. } => "following",
            State::Closing => "closing",
            State::Draining { .. } => "half-closed, draining",
            State::Done => "closed",
        });
        let unread = connection.output().len();
        if unread > 0 {
            write!(text, ", {unread} bytes unread").expect("a text");
        }
        let deadline = connection.deadline(&self.test.limits);
        if let Some(left) = deadline.map(|at| at.saturating_duration_since(self.test.now)) {
            write!(text, ", {} ms left", left.as_millis()).expect("a text");
        }
        // Draining begins with the end of our side, which is to be closed once.
        let draining = matches!(connection.state, State::Draining { .. });
        assert!(!draining || self.test.half_closed, "{text}");
        text
    }
}

/// A refusal is the last response of its connection, and its body says the same as its status. (The
/// response to HEAD has no body.)
fn assert_refusal(head: &str, body: &str) {
    assert!(head.contains("\r\nConnection: close"), "{head}");
    if !body.is_empty() {
        let error: ErrorBody = serde_json::from_str(body).expect(body);
        assert!(
            head.starts_with(&error.error.code.to_string()),
            "{head} {body}"
        );
    }
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Failure> {
        let name = context.prefix.clone().unwrap_or_default();
        let mut words = command.consume_args();
        let body_limit = key(&mut words, "body-limit")?;
        match command.name.as_str() {
            "budgets" => {
                self.bodies = Budget::new(key(&mut words, "bodies")?.unwrap_or(1_000));
                self.outputs = Budget::new(key(&mut words, "outputs")?.unwrap_or(1_000_000));
                words.reject_next()?;
                return Ok(String::new());
            }
            "open" | "serve" => {
                let opened = self.open(body_limit);
                self.connections.insert(name.clone(), opened);
            }
            "close" => {
                self.connections.remove(&name).ok_or("not open")?;
                return Ok("closed\n".into());
            }
            _ => {}
        }
        let shown = self.connections.get_mut(&name).ok_or("not open")?;
        let mut output = String::new();
        match command.name.as_str() {
            "open" => {}
            "send" => shown.send(&text(&mut words)?)?,
            "drip" => {
                let time = key(&mut words, "in")?.ok_or("in which time?")?;
                output = shown.drip(&text(&mut words)?, Duration::from_millis(time))?;
            }
            "serve" => {
                shown.send(&text(&mut words)?)?;
                while shown.test.connection.is_waiting() {
                    shown.answer(&Response::text(200, "text/plain", "ok"));
                }
            }
            "end" => {
                shown
                    .test
                    .context(|connection, context| connection.end_of_input(context));
                shown.flush();
            }
            "stop-reading" => shown.reads = false,
            "read" => match words.next_pos() {
                Some(bytes) => shown.test.read(parse(bytes)?),
                None => {
                    shown.reads = true;
                    shown.flush();
                }
            },
            "answer" => {
                let status = parse(word(&mut words, "the status")?)?;
                shown.answer(&Response::text(status, "text/plain", text(&mut words)?));
            }
            "event" => {
                let event = text(&mut words)?;
                shown
                    .test
                    .context(|connection, context| connection.push_event(&event, context));
                shown.flush();
            }
            "wait" => shown.pass(Duration::from_millis(parse(word(&mut words, "the time")?)?)),
            "stop" => shown.test.stopping = true,
            "refuse" => {
                shown.test.connection = shown
                    .test
                    .context(|_, context| Connection::refused(RefusalReason::Crowded, context));
                shown.flush();
            }
            "permit" => {
                let permit = shown.test.handlers.permits.take();
                self.permits.push(permit.ok_or("it is taken")?);
            }
            "permits" => {
                let free = shown.test.handlers.permits.take().is_some();
                output = format!("the permit is {}\n", if free { "free" } else { "taken" });
            }
            "memory" => {
                let connection = &mut shown.test.connection;
                let (held, capacity) = (connection.held.len(), connection.held.capacity());
                let buffer = connection.output.writer(&mut Vec::new()).capacity();
                output = format!("input: {held} bytes of {capacity}; output: {buffer} bytes\n");
            }
            other => return Err(format!("there is no command '{other}'").into()),
        }
        words.reject_next()?;
        output.push_str(&shown.show(context.tags.contains("heads")));
        Ok(output)
    }
}

stories::stories! {
    "src/http/edge/connection/scripts",
    Story::new(),
    a_cached_read_is_answered_at_once
    a_client_that_does_not_read_is_given_up
    a_closed_connection_drains_within_bounds
    a_connection_over_the_limit_is_refused
    a_handler_gets_the_whole_request
    a_head_and_a_body_have_their_time
    a_stopping_server_closes_after_each_response
    a_subscriber_gets_every_event
    a_subscriber_that_falls_behind_is_dropped
    an_answer_that_nobody_waits_for_changes_nothing
    continue_is_sent_only_when_the_body_is_wanted
    each_limit_holds_to_the_byte
    head_of_a_feed_has_no_length_and_no_effect
    large_bodies_share_a_budget
    only_subscribers_get_events
    responses_come_in_the_order_of_their_requests
    rfc_9112
    the_end_of_a_connection_is_announced
    the_owed_responses_come_after_the_client_ended
    unread_responses_share_a_budget
}
