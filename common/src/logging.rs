//! Logging: one line per event on standard output, with time, level, service (and replica id),
//! message and fields; as text, or as one JSON object per line for programs.

use crate::terminal;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::OnceLock;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Level and shape of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// Text or JSON.
    pub format: LogFormat,
}

/// Shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("write text or json"),
        }
    }
}

/// A level: error, warn, info, debug or trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub Level);

impl FromStr for LogLevel {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| "write error, warn, info, debug or trace")
    }
}

static STARTED: OnceLock<()> = OnceLock::new();

/// Starts logging for this process; only the first call counts. `service` is `catalog`, `order-3`,
/// `frontend`.
pub fn start(service: &str, settings: LogSettings) {
    // Tests start several services in one process; a second subscriber would panic.
    STARTED.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_max_level(settings.level.0)
            // No buffer of our own: a line that was logged is out even if the process is killed.
            .with_writer(std::io::stdout)
            // A line that cannot be written (full disk, reader gone) is lost. The default says so
            // on standard error, which panics when that cannot be written either.
            .log_internal_errors(false)
            .event_format(Line {
                service: service.into(),
                format: settings.format,
            })
            .init();
    });
}

struct Line {
    service: String,
    format: LogFormat,
}

/// The message and fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name(), value));
        }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = event.metadata().level();
        let line = match self.format {
            LogFormat::Text => text_line(&time, level, &self.service, &fields)?,
            LogFormat::Json => json_line(&time, level, &self.service, &fields)?,
        };
        writeln!(writer, "{line}")
    }
}

fn text_line(
    time: &str,
    level: &Level,
    service: &str,
    fields: &Fields,
) -> Result<String, fmt::Error> {
    let mut line = format!("{time} {level:5} {service} ");
    // Text of strangers is among the fields: see `terminal`.
    line.push_str(&terminal::escape(&fields.message));
    for (name, value) in &fields.fields {
        write!(line, " {name}=")?;
        // Quoted where a program could not tell where the value ends.
        let plain = !value.is_empty()
            && value
                .chars()
                .all(|c| c.is_alphanumeric() || "-_.:/,[]()".contains(c));
        if plain {
            line.push_str(value);
        } else {
            line.push_str(&terminal::escape(&format!("{value:?}")));
        }
    }
    Ok(line)
}

fn json_line(
    time: &str,
    level: &Level,
    service: &str,
    fields: &Fields,
) -> Result<String, fmt::Error> {
    let mut line = String::from("{");
    let fixed = [
        ("time", time),
        ("level", level.as_str()),
        ("service", service),
        ("message", &fields.message),
    ];
    let all = fixed
        .into_iter()
        .chain(fields.fields.iter().map(|(n, v)| (*n, v.as_str())));
    for (i, (name, value)) in all.enumerate() {
        let (comma, value) = (if i == 0 { "" } else { "," }, terminal::json_string(value));
        write!(line, "{comma}\"{name}\":{value}")?;
    }
    line.push('}');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event stays one line in both shapes, also with line ends in its fields.
    #[test]
    fn one_line_per_event() {
        let fields = Fields {
            message: "a\nb".into(),
            fields: vec![("why", "x \"y\"\n".into()), ("n", "7".into())],
        };
        let text = text_line("T", &Level::WARN, "order-3", &fields).expect("formats");
        assert_eq!(text, r#"T WARN  order-3 a\nb why="x \"y\"\n" n=7"#);
        let json = json_line("T", &Level::WARN, "order-3", &fields).expect("formats");
        assert!(!json.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
        assert_eq!(
            (&value["message"], &value["why"]),
            (&"a\nb".into(), &"x \"y\"\n".into())
        );
    }
}
