//! A small typed client of the public API. Every method uses [`Api::send`], which returns status,
//! header fields and body of any response, so that tests can check the shape of errors too.

use common::http::client::{ANSWER_LIMIT_BYTES, SharedNames};
use common::terminal::escape;
use common::timing::{CLIENT_TIMEOUT, CONNECT_TIMEOUT};
use common::wire::public::{Data, ErrorBody, NewOrder, OrderInfo, Receipt, Status, StockInfo};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;
use ureq::unversioned::transport::DefaultConnector;

/// Name of the header that makes an order repeatable.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// A function that sees every response to any [`Api`] of this process, with base URL, method and
/// path. Tests check each response against the description of the API.
pub type Observer = fn(&str, &str, &str, &RawResponse);

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Sets the observer of this process; only the first one counts.
pub fn observe(observer: Observer) {
    OBSERVER.get_or_init(|| observer);
}

/// A client of one front-end. It keeps one idle connection, so that a single thread talks over one
/// connection all the time.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
}

/// A response as it came.
#[derive(Debug, Clone)]
pub struct RawResponse {
    /// The HTTP status.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are no UTF-8 are replaced.
    pub body: String,
}

/// Why a typed call returned no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// No answer: refused, reset or timed out. Whether the call had an effect is unknown.
    NoAnswer(String),
    /// A response with an error object.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its message.
        message: String,
        /// The pause that `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// A response that the API does not promise.
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// The difference from the API's description.
        why: String,
    },
}

impl ApiError {
    /// Whether the same call, with the same key, may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            // A front-end restarts, or another takes its address.
            Self::NoAnswer(_) => true,
            // A 5xx is a failure of the bazaar, or of a proxy before it. Any other status is a
            // verdict on the request.
            Self::Refused { status, .. } | Self::Unexpected { status, .. } => *status >= 500,
        }
    }

    /// The status of an error object.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::NoAnswer(_) | Self::Unexpected { .. } => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Another program wrote this text: escape it, so that it stays on one line.
            Self::NoAnswer(why) => write!(f, "no answer: {}", escape(why)),
            Self::Refused {
                status, message, ..
            } => write!(f, "{status}: {}", escape(message)),
            Self::Unexpected { status, why } => {
                let why = escape(why);
                write!(f, "{status} with an unexpected response: {why}")
            }
        }
    }
}

impl std::error::Error for ApiError {}

impl Api {
    /// A client of the front-end at `base` (`http://host:port`), with the time-out of
    /// [`CLIENT_TIMEOUT`].
    pub fn new(base: &str) -> Self {
        Self::with_timeout(base, CLIENT_TIMEOUT)
    }

    /// A client with another bound on each step of a call: sending, waiting, reading.
    pub fn with_timeout(base: &str, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            // The body of a refusal says why; with ureq's default it would be lost.
            .http_status_as_error(false)
            // A proxy of the environment would be measured along with the bazaar.
            .proxy(None)
            .no_delay(true)
            // A test wants the response as it came.
            .max_redirects(0)
            // Tests send methods that no client would.
            .allow_non_standard_methods(true)
            .user_agent("bazaar-client")
            // One connection for one thread: what is measured is a client that keeps its
            // connection.
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            // One bound for each step: for a bound on the whole call, ureq would start a thread.
            .timeout_connect(Some(timeout.min(CONNECT_TIMEOUT * 10)))
            .timeout_send_request(Some(timeout))
            .timeout_send_body(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .timeout_recv_body(Some(timeout))
            .build();
        let agent =
            ureq::Agent::with_parts(config, DefaultConnector::default(), SharedNames::default());
        Self {
            agent,
            base: base.trim_end_matches('/').into(),
            authorization: None,
        }
    }

    /// The same client with a bearer token, for internal listeners.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    /// Ends the calls in flight of this client and its clones; their outcome is unknown. Every
    /// later call fails.
    pub fn shutdown(&self) {
        // A clone shares the pool, so that one of them ends the calls of all.
        self.agent.clone().shutdown();
    }

    /// Sends any request and returns any response.
    ///
    /// # Errors
    /// [`ApiError::NoAnswer`].
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<RawResponse, ApiError> {
        let no_answer = |e: &dyn fmt::Display| ApiError::NoAnswer(e.to_string());
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let sent = match body {
            Some(body) => self
                .agent
                .run(request.body(body).map_err(|e| no_answer(&e))?),
            None => self.agent.run(request.body(()).map_err(|e| no_answer(&e))?),
        };
        let mut response = sent.map_err(|e| no_answer(&e))?;
        let headers = response.headers().iter();
        let text = |value: &ureq::http::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let headers = headers
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect();
        // Read the body to its end: otherwise ureq closes the connection.
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_LIMIT_BYTES)
            .read_to_vec()
            .map_err(|e| no_answer(&e))?;
        let response = RawResponse {
            status: response.status().as_u16(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        // After the body was read, so that a test sees the whole response.
        if let Some(observer) = OBSERVER.get() {
            observer(&self.base, method, path, &response);
        }
        Ok(response)
    }

    /// Sends GET.
    ///
    /// # Errors
    /// [`ApiError::NoAnswer`].
    pub fn get(&self, path: &str) -> Result<RawResponse, ApiError> {
        self.send("GET", path, &[], None)
    }

    /// Sends POST with a body.
    ///
    /// # Errors
    /// [`ApiError::NoAnswer`].
    pub fn post(&self, path: &str, body: &str) -> Result<RawResponse, ApiError> {
        self.send(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            Some(body.as_bytes()),
        )
    }

    /// One stock.
    ///
    /// # Errors
    /// [`ApiError`]; 404 when there is no such stock.
    pub fn stock(&self, name: &str) -> Result<StockInfo, ApiError> {
        self.get(&format!(
            "/stocks/{}",
            // Every byte but letters and digits: a name may hold what a path does not take.
            utf8_percent_encode(name, NON_ALPHANUMERIC)
        ))?
        .data()
    }

    /// All stocks, sorted by name.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn stocks(&self) -> Result<Vec<StockInfo>, ApiError> {
        self.get("/stocks")?.data()
    }

    /// Trades. Returns the order's number.
    ///
    /// # Errors
    /// [`ApiError`]; 409 when too few are left.
    ///
    /// # Panics
    /// Never: an order can be written as JSON.
    pub fn order(&self, order: &NewOrder, key: Option<&str>) -> Result<u64, ApiError> {
        let body = serde_json::to_vec(order).expect("an order serialises");
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(key.map(|key| (IDEMPOTENCY_KEY, key)));
        let receipt: Receipt = self
            .send("POST", "/orders", &headers, Some(&body))?
            .data()?;
        Ok(receipt.transaction_number)
    }

    /// An order by its number.
    ///
    /// # Errors
    /// [`ApiError`]; 404 when there is none.
    pub fn order_by_number(&self, number: u64) -> Result<OrderInfo, ApiError> {
        self.get(&format!("/orders/{number}"))?.data()
    }

    /// The front-end's view of the cluster.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn status(&self) -> Result<Status, ApiError> {
        self.get("/status")?.data()
    }

    /// An internal message, which has no envelope, by GET.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn internal<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let response = self.get(path)?;
        if response.status == 200 {
            response.parse()
        } else {
            Err(response.refusal())
        }
    }
}

impl RawResponse {
    /// The first header field of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The data of a success.
    ///
    /// # Errors
    /// [`ApiError`], for every other status or shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // A success has status 200 alone; any other one is judged as a refusal.
        if self.status == 200 {
            self.parse().map(|Data { data }| data)
        } else {
            Err(self.refusal())
        }
    }

    /// The error object's message.
    ///
    /// # Errors
    /// When the body is no error object, or its code is not the status.
    pub fn error_message(&self) -> Result<String, String> {
        let body: ErrorBody =
            serde_json::from_str(&self.body).map_err(|e| format!("{e}: {}", self.body))?;
        // A proxy may answer in the bazaar's place, with a body of its own.
        if body.error.code != self.status {
            return Err(format!(
                "code {} in the body of status {}",
                body.error.code, self.status
            ));
        }
        Ok(body.error.message)
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_str(&self.body).map_err(|e| ApiError::Unexpected {
            status: self.status,
            why: format!("{e}: {}", self.body),
        })
    }

    fn refusal(&self) -> ApiError {
        match self.error_message() {
            Ok(message) => {
                let seconds = self
                    .header("retry-after")
                    .and_then(|text| text.parse().ok());
                ApiError::Refused {
                    status: self.status,
                    message,
                    retry_after: seconds.map(Duration::from_secs),
                }
            }
            Err(why) => ApiError::Unexpected {
                status: self.status,
                why,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> RawResponse {
        RawResponse {
            status,
            headers: vec![("retry-after".into(), "2".into())],
            body: body.into(),
        }
    }

    /// Success and failure leave their envelopes; any other shape is an unexpected response.
    #[test]
    fn envelopes_are_opened_and_other_shapes_are_unexpected() {
        assert_eq!(
            response(200, r#"{"data":{"transaction_number":7}}"#)
                .data::<Receipt>()
                .map(|r| r.transaction_number),
            Ok(7)
        );
        let refused = response(503, r#"{"error":{"code":503,"message":"not now"}}"#)
            .data::<Receipt>()
            .expect_err("503");
        let wait = Some(Duration::from_secs(2));
        assert_eq!(
            refused,
            ApiError::Refused {
                status: 503,
                message: "not now".into(),
                retry_after: wait
            }
        );
        assert!(refused.is_retryable());
        let lying = response(404, r#"{"error":{"code":400,"message":"x"}}"#)
            .data::<Receipt>()
            .expect_err("code differs");
        assert!(matches!(lying, ApiError::Unexpected { status: 404, .. }) && !lying.is_retryable());
        assert!(matches!(
            response(200, "{}").data::<Receipt>(),
            Err(ApiError::Unexpected { .. })
        ));
    }

    /// A refused connection is "no answer", and a client may try again.
    #[test]
    fn a_refused_connection_is_retryable() {
        // A port that was just free; nothing listens on it once the listener is gone.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("an address")
            .port();
        let error = Api::new(&format!("http://127.0.0.1:{port}"))
            .stocks()
            .expect_err("nothing listens");
        assert!(
            matches!(error, ApiError::NoAnswer(_)) && error.is_retryable(),
            "{error}"
        );
    }
}
