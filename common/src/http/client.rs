//! The way out: JSON calls between services over pooled keep-alive connections, through ureq.
//!
//! - Time-outs are set on connect, send and receive: ureq's overall time-out would start a thread
//!   per call.
//! - Proxy variables of the environment are ignored: services are reached directly.
//! - Nothing is retried here. The caller knows whether a repeat is safe:
//!   [`CallError::outcome_unknown`] says whether the call may have been carried out.

use super::mismatches::{self, Mismatch};
use super::names::{self, Names};
use super::protocol;
use super::socket::OneWrite;
use crate::timing::{CALLER_IDLE, CONNECT_TIMEOUT};
use crate::wire::catalog::NotActive;
use crate::wire::public::ErrorBody;
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Largest response that is read, in bytes. The largest are the genesis and the table of all
/// stocks; a page of rows is far below.
pub const ANSWER_LIMIT_BYTES: u64 = 32 * 1024 * 1024;

/// Addresses of one host that are tried, at most; ureq has room for 16.
const MOST_ADDRESSES: usize = 8;

/// A pool of connections to services of ours.
#[derive(Debug, Clone)]
pub struct HttpClient {
    agent: ureq::Agent,
    names: Names,
    authorization: Option<Arc<str>>,
}

/// Why a call brought no response of the expected kind.
#[derive(Debug)]
pub enum CallError {
    /// The call was not sent: refused, unreachable, no such host.
    NotSent(String),
    /// It was sent, or may have been, and no response came.
    NoAnswer(String),
    /// The response has another status than 200.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body, a JSON message of ours.
        body: Vec<u8>,
        /// The epoch under which a catalog answered, where it said one.
        epoch: Option<u64>,
        /// Whether the same call was sent before, to another catalog, and brought no answer. That
        /// one may have been carried out, whatever this response says.
        unknown_before: bool,
    },
    /// The response has status 200 and a body that does not fit: a service of another version, or
    /// none of ours.
    Misfit(String),
}

impl CallError {
    /// The HTTP status of the response, if one came and is not 200.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::NotSent(_) | Self::NoAnswer(_) | Self::Misfit(_) => None,
        }
    }

    /// Whether the call may have been carried out although no response says so.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            // Nothing left this machine.
            Self::NotSent(_) => false,
            // It may have been delivered, and the response lost.
            Self::NoAnswer(_) => true,
            // 500: dropped inside the service. Every other status is a refusal, whose body may say
            // more.
            Self::Status {
                status,
                unknown_before,
                ..
            } => *status == 500 || *unknown_before,
            // Carried out, if perhaps by a service that is none of ours.
            Self::Misfit(_) => true,
        }
    }

    /// This error as the end of a call that was sent before, with `earlier` as its error.
    #[must_use]
    pub fn after(mut self, earlier: Option<&Self>) -> Self {
        if let Self::Status { unknown_before, .. } = &mut self {
            *unknown_before |= earlier.is_some_and(Self::outcome_unknown);
        }
        self
    }

    /// Whether the same call may succeed later, here or at another instance. All internal calls are
    /// safe to repeat: orders carry their keys, rows their numbers.
    pub fn is_retryable(&self) -> bool {
        match self {
            // Services come back.
            Self::NotSent(_) | Self::NoAnswer(_) => true,
            // Not the leader, an older term, full, starting or stopping: all pass. Other refusals
            // are final.
            Self::Status { status, .. } => matches!(status, 412 | 421 | 500 | 503),
            // Another version of the service will not fit later either.
            Self::Misfit(_) => false,
        }
    }

    /// Whether a catalog answered that it is not the active one.
    #[must_use]
    pub fn no_catalog_is_active(&self) -> bool {
        self.refusal::<NotActive>(421).is_some()
    }

    /// The body of a refusal with this status, as a message of ours.
    pub fn refusal<T: DeserializeOwned>(&self, wanted: u16) -> Option<T> {
        match self {
            Self::Status { status, body, .. } if *status == wanted => {
                serde_json::from_slice(body).ok()
            }
            _ => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::NoAnswer(why) => write!(f, "no answer: {why}"),
            Self::Status { status, .. } if self.no_catalog_is_active() => {
                write!(f, "status {status}: this catalog is not the active one")
            }
            Self::Status { status, body, .. } => match serde_json::from_slice::<ErrorBody>(body) {
                Ok(refusal) => write!(f, "status {status}: {}", refusal.error.message),
                Err(_) => write!(
                    f,
                    "status {status}: {}",
                    String::from_utf8_lossy(&body[..body.len().min(200)])
                ),
            },
            Self::Misfit(why) => write!(f, "answer does not fit: {why}"),
        }
    }
}

impl error::Error for CallError {}

/// How one call is made.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `GET`, `POST` or `PUT`.
    pub method: &'a str,
    /// Base URL of the service, without a slash at its end.
    pub base: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// How long to wait for the response once the call is sent.
    pub timeout: Duration,
    /// Trace id, where the call is made for one request.
    pub trace: Option<&'a str>,
}

impl HttpClient {
    /// A client that keeps up to `pool` idle connections to each service, and shows `token` where
    /// it has one.
    pub fn new(pool: usize, token: Option<&str>) -> Self {
        let config = ureq::Agent::config_builder()
            // Trap: with the default a refusal is an error without its body, which says why and
            // whether to try again.
            .http_status_as_error(false)
            // Trap: the environment's proxy would get calls between services, token included.
            .proxy(None)
            // Trap: a redirect would send the token to wherever it points.
            .max_redirects(0)
            // Fields that nobody reads.
            .user_agent("")
            .accept("")
            // To all services together: a client speaks to a few.
            .max_idle_connections(pool * 8)
            .max_idle_connections_per_host(pool)
            // As long as the other side keeps its end, less some: see `CALLER_IDLE`. ureq's 15 s
            // would close connections of an idle bazaar, whose next order pays for new ones.
            .max_idle_age(CALLER_IDLE)
            // Connecting is bounded apart: a machine that does not answer must not use up the whole
            // time.
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build();
        let names = names::shared();
        let agent = ureq::Agent::with_parts(config, OneWrite, SharedNames(names.clone()));
        Self {
            agent,
            names,
            authorization: token.map(|t| format!("Bearer {t}").into()),
        }
    }

    /// Opens a connection of its own to the service at `base`, and returns it with the value of the
    /// Host field.
    pub(super) fn connect(&self, base: &str) -> Result<(TcpStream, String), CallError> {
        let not_sent = |why: &dyn fmt::Display| CallError::NotSent(format!("{base}: {why}"));
        let uri: Uri = base.parse().map_err(|e| not_sent(&e))?;
        let (Some(host), Some(authority)) = (host_of(&uri), uri.authority()) else {
            return Err(not_sent(&"no host"));
        };
        let port = uri.port_u16().unwrap_or(80);
        let addresses = self.names.addresses(host).map_err(|e| not_sent(&e))?;
        let mut refused = not_sent(&"no address");
        // One after the other, each within the bound: a name may have an address that is dead.
        for ip in addresses {
            match TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT_TIMEOUT) {
                Ok(stream) => return Ok((stream, authority.to_string())),
                Err(error) => refused = not_sent(&error),
            }
        }
        Err(refused)
    }

    /// The value of the Authorization field, where a token is set.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Ends every call in flight and closes every connection: those calls fail with
    /// [`CallError::NoAnswer`].
    pub fn abort(&self) {
        // Shutting down a clone ends calls of all clones: they share the pool.
        self.agent.clone().shutdown();
    }

    /// Sends `body` as JSON and reads the response.
    ///
    /// # Errors
    /// [`CallError`], which says whether the call may have been carried out.
    ///
    /// # Panics
    /// When the body cannot be JSON, which is a mistake of ours: wire types can.
    pub fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call<'_>,
        body: &Q,
    ) -> Result<A, CallError> {
        self.call_dated(call, body).map(|(answer, _)| answer)
    }

    /// As [`HttpClient::call`], with the epoch under which a catalog answered, where it said one.
    ///
    /// # Errors
    /// [`CallError`]
    ///
    /// # Panics
    /// When the body cannot be JSON, which is a mistake of ours: wire types can.
    pub fn call_dated<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call<'_>,
        body: &Q,
    ) -> Result<(A, Option<u64>), CallError> {
        // To a vector: ureq's own way of sending JSON prints it with blanks.
        let mut bytes = serde_json::to_vec(body).expect("wire types serialise");
        protocol::extend(&mut bytes);
        self.exchange(call, Some(&bytes)).and_then(decode)
    }

    /// Reads with GET.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn get<A: DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<A, CallError> {
        self.get_dated(base, path, timeout)
            .map(|(answer, _)| answer)
    }

    /// As [`HttpClient::get`], with the epoch under which a catalog answered, where it said one.
    ///
    /// # Errors
    /// [`CallError`]
    pub fn get_dated<A: DeserializeOwned>(
        &self,
        base: &str,
        path: &str,
        timeout: Duration,
    ) -> Result<(A, Option<u64>), CallError> {
        let call = Call {
            method: "GET",
            base,
            path,
            timeout,
            trace: None,
        };
        self.exchange(call, None).and_then(decode)
    }

    fn exchange(&self, call: Call<'_>, body: Option<&[u8]>) -> Result<Answered, CallError> {
        let mut request = ureq::http::Request::builder()
            .method(call.method)
            .uri(format!("{}{}", call.base, call.path))
            // In every call: a listener refuses another major version before it looks at the route.
            .header(protocol::HEADER, protocol::text());
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", &**authorization);
        }
        if let Some(trace) = call.trace {
            request = request.header(super::TRACE_HEADER, trace);
        }
        let bad = |e: &dyn fmt::Display| CallError::NotSent(e.to_string());
        let answer = match body {
            Some(body) => {
                let request = request
                    .header("content-type", "application/json")
                    .body(body)
                    .map_err(|e| bad(&e))?;
                self.agent.run(self.with_timeouts(request, call.timeout))
            }
            None => self
                .agent
                .run(self.with_timeouts(request.body(()).map_err(|e| bad(&e))?, call.timeout)),
        };
        // A connection that could not be made may mean that the service has moved. Its name is
        // looked up again, aside: see `names`.
        let mut answer = answer.map_err(sort).inspect_err(|error| {
            if matches!(error, CallError::NotSent(_)) {
                let uri: Option<Uri> = call.base.parse().ok();
                if let Some(host) = uri.as_ref().and_then(host_of) {
                    self.names.suspect(host);
                }
            }
        })?;
        let status = answer.status().as_u16();
        let field = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let epoch = field(super::EPOCH_HEADER).and_then(|epoch| epoch.parse().ok());
        let unfit = protocol::unfit(field(protocol::HEADER)).map(str::to_owned);
        let shown = self.authorization.is_some();
        let token = (status == 401).then_some(Mismatch::Token { shown });
        // Noted for readiness at each answer, also a good one, which ends a mismatch.
        mismatches::answered(call.base, unfit.clone().map(Mismatch::Protocol).or(token));
        // ureq returns a connection to its pool only if the body was read to its end.
        let body = answer
            // Bounded: a service that is none of ours may send without end.
            .body_mut()
            .with_config()
            .limit(ANSWER_LIMIT_BYTES)
            .read_to_vec();
        // The head came and the body did not: the call was carried out, or not.
        let body = body.map_err(|e| CallError::NoAnswer(e.to_string()))?;
        match unfit {
            // Its own refusal of our version says more.
            // A body of another major version must not be read as one of ours.
            Some(theirs) if status != 400 => {
                let (base, ours) = (call.base, protocol::text());
                Err(CallError::Misfit(format!(
                    "{base} speaks protocol {theirs}, this program protocol {ours}"
                )))
            }
            _ if status == 200 => Ok(Answered { body, epoch }),
            _ => Err(CallError::Status {
                status,
                body,
                epoch,
                unknown_before: false,
            }),
        }
    }

    fn with_timeouts<S: ureq::AsSendBody>(
        &self,
        request: ureq::http::Request<S>,
        timeout: Duration,
    ) -> ureq::http::Request<S> {
        self.agent
            // Each phase has the whole time. Trap: ureq's overall time-out starts a thread for each
            // call to resolve the name.
            .configure_request(request)
            .timeout_send_request(Some(timeout))
            .timeout_send_body(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_recv_body(Some(timeout))
            .build()
    }
}

/// The parts of a success that callers want.
struct Answered {
    body: Vec<u8>,
    epoch: Option<u64>,
}

fn decode<A: DeserializeOwned>(answered: Answered) -> Result<(A, Option<u64>), CallError> {
    let Answered { body, epoch } = answered;
    let answer = serde_json::from_slice(&body);
    let answer = answer.map_err(|e| CallError::Misfit(e.to_string()))?;
    Ok((answer, epoch))
}

/// Sorts an error by whether the call may have been delivered.
#[expect(clippy::needless_pass_by_value, reason = "used in map_err")]
fn sort(error: ureq::Error) -> CallError {
    use ureq::Timeout;
    // Kinds that only come while connecting: nothing of the call has left this machine then.
    let unsent = match &error {
        ureq::Error::Io(e) => matches!(
            e.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable
        ),
        // The name or the connection timed out: as above.
        ureq::Error::Timeout(t) => matches!(t, Timeout::Resolve | Timeout::Connect),
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::Http(_) => true,
        // Everything else may have come after the call was sent, a reset among them.
        _ => false,
    };
    if unsent {
        CallError::NotSent(error.to_string())
    } else {
        CallError::NoAnswer(error.to_string())
    }
}

/// ureq's way to the names that this process knows.
#[derive(Debug)]
pub struct SharedNames(Names);

impl Default for SharedNames {
    fn default() -> Self {
        Self(names::shared())
    }
}

impl Resolver for SharedNames {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = host_of(uri).ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(80);
        // A kind that counts as not sent: without an address nothing leaves this machine.
        let found = self
            .0
            .addresses(host)
            .map_err(|why| ureq::Error::Io(io::Error::new(io::ErrorKind::HostUnreachable, why)))?;
        let mut addresses = self.empty();
        // More would not fit: ureq has room for 16.
        for ip in found.into_iter().take(MOST_ADDRESSES) {
            addresses.push(SocketAddr::new(ip, port));
        }
        Ok(addresses)
    }
}

fn host_of(uri: &Uri) -> Option<&str> {
    uri.host().map(|host| host.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call to a name that nobody can resolve was not sent, says so with the name, and is not
    /// taken for one whose outcome is unknown.
    #[test]
    fn a_call_to_an_unknown_name_was_not_sent() {
        let client = HttpClient::new(1, None);
        let error = client
            .get::<serde_json::Value>("http://no-such-host.invalid:7", "/", CONNECT_TIMEOUT)
            .expect_err("nobody is there");
        assert!(!error.outcome_unknown() && error.is_retryable(), "{error}");
        assert!(
            error.to_string().contains("no-such-host.invalid"),
            "{error}"
        );
    }
}
