//! A small typed client of the public API. Every method has a raw form beneath it, [`Api::send`],
//! which keeps status, header fields and body of whatever came, so that tests can check the shape
//! of errors too.

use common::http::client::{ANSWER_LIMIT_BYTES, SharedNames};
use common::terminal::escape;
use common::timing::{CLIENT_TIMEOUT, CONNECT_TIMEOUT};
use common::wire::public::{Data, ErrorBody, NewOrder, OrderView, Receipt, Status, StockView};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;
use ureq::unversioned::transport::DefaultConnector;

/// Name of the header that makes an order repeatable.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// What is called for every answer of any [`Api`] of this process, with base URL, method and path.
/// For tests, which hold every answer against the description of the API.
pub type Observer = fn(&str, &str, &str, &Answer);

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

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are no UTF-8 are replaced.
    pub body: String,
}

/// Why a typed call brought no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// No answer: refused, reset or timed out. The call may have been carried out.
    NoAnswer(String),
    /// Answered with an error object.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its message.
        message: String,
        /// When to try again, where the answer says so.
        retry_after: Option<Duration>,
    },
    /// Answered with what the API does not promise.
    Misfit {
        /// The HTTP status.
        status: u16,
        /// What does not fit.
        why: String,
    },
}

impl ApiError {
    /// Whether the same call, with the same key, may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            // Front-ends come back.
            Self::NoAnswer(_) => true,
            // 5xx are troubles of the bazaar, or of a proxy before it; all else judges the request
            // itself.
            Self::Refused { status, .. } | Self::Misfit { status, .. } => *status >= 500,
        }
    }

    /// The status of an error object.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::NoAnswer(_) | Self::Misfit { .. } => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The other side's words: one line, whatever they are.
            Self::NoAnswer(why) => write!(f, "no answer: {}", escape(why)),
            Self::Refused {
                status, message, ..
            } => write!(f, "{status}: {}", escape(message)),
            Self::Misfit { status, why } => {
                let why = escape(why);
                write!(f, "{status} with an answer that does not fit: {why}")
            }
        }
    }
}

impl std::error::Error for ApiError {}

impl Api {
    /// A client of the front-end at `base` (`http://host:port`) that waits for an answer as long as
    /// a well-behaved client does.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self::with_timeout(base, CLIENT_TIMEOUT)
    }

    /// The same with another bound on each step of a call (sending, waiting for the answer, reading
    /// it).
    #[must_use]
    pub fn with_timeout(base: &str, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .no_delay(true)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .user_agent("bazaar-client")
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            // Bounds per step: a bound on the whole call would start a thread per call.
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

    /// The same client, showing this token: for internal listeners.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    /// Ends the calls in flight of this client and its clones; their outcome is unknown. No further
    /// call gets an answer.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }

    /// Sends any request and gives back whatever came.
    ///
    /// # Errors
    /// [`ApiError::NoAnswer`].
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ApiError> {
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
        let answer = match body {
            Some(body) => self
                .agent
                .run(request.body(body).map_err(|e| no_answer(&e))?),
            None => self.agent.run(request.body(()).map_err(|e| no_answer(&e))?),
        };
        let mut answer = answer.map_err(|e| no_answer(&e))?;
        let headers = answer.headers().iter();
        let text = |value: &ureq::http::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let headers = headers
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect();
        // Read to its end, or the connection would be dropped.
        let body = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_LIMIT_BYTES)
            .read_to_vec()
            .map_err(|e| no_answer(&e))?;
        let answer = Answer {
            status: answer.status().as_u16(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        if let Some(observer) = OBSERVER.get() {
            observer(&self.base, method, path, &answer);
        }
        Ok(answer)
    }

    /// Sends GET.
    ///
    /// # Errors
    /// [`ApiError::NoAnswer`].
    pub fn get(&self, path: &str) -> Result<Answer, ApiError> {
        self.send("GET", path, &[], None)
    }

    /// Sends POST with a body.
    ///
    /// # Errors
    /// [`ApiError::NoAnswer`].
    pub fn post(&self, path: &str, body: &str) -> Result<Answer, ApiError> {
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
    pub fn stock(&self, name: &str) -> Result<StockView, ApiError> {
        self.get(&format!(
            "/stocks/{}",
            utf8_percent_encode(name, NON_ALPHANUMERIC)
        ))?
        .data()
    }

    /// All stocks, sorted by name.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn stocks(&self) -> Result<Vec<StockView>, ApiError> {
        self.get("/stocks")?.data()
    }

    /// Trades; gives the order's number.
    ///
    /// # Errors
    /// [`ApiError`]; 409 when fewer are left than wanted.
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
    pub fn order_by_number(&self, number: u64) -> Result<OrderView, ApiError> {
        self.get(&format!("/orders/{number}"))?.data()
    }

    /// What the front-end sees of the cluster.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn status(&self) -> Result<Status, ApiError> {
        self.get("/status")?.data()
    }

    /// Any internal message without envelope, by GET.
    ///
    /// # Errors
    /// [`ApiError`].
    pub fn internal<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let answer = self.get(path)?;
        if answer.status == 200 {
            answer.parse()
        } else {
            Err(answer.refusal())
        }
    }
}

impl Answer {
    /// The first header field of that name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The data of a success.
    ///
    /// # Errors
    /// [`ApiError`], for every other answer.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        if self.status == 200 {
            self.parse().map(|Data { data }| data)
        } else {
            Err(self.refusal())
        }
    }

    /// The error object's message.
    ///
    /// # Errors
    /// What does not fit the promised shape.
    pub fn error_message(&self) -> Result<String, String> {
        let body: ErrorBody =
            serde_json::from_str(&self.body).map_err(|e| format!("{e}: {}", self.body))?;
        if body.error.code != self.status {
            return Err(format!(
                "code {} in the body of status {}",
                body.error.code, self.status
            ));
        }
        Ok(body.error.message)
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_str(&self.body).map_err(|e| ApiError::Misfit {
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
            Err(why) => ApiError::Misfit {
                status: self.status,
                why,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: vec![("retry-after".into(), "2".into())],
            body: body.into(),
        }
    }

    /// Success and failure come out of their envelopes; anything else is told apart from a refusal.
    #[test]
    fn envelopes() {
        assert_eq!(
            answer(200, r#"{"data":{"transaction_number":7}}"#)
                .data::<Receipt>()
                .map(|r| r.transaction_number),
            Ok(7)
        );
        let refused = answer(503, r#"{"error":{"code":503,"message":"not now"}}"#)
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
        let lying = answer(404, r#"{"error":{"code":400,"message":"x"}}"#)
            .data::<Receipt>()
            .expect_err("code differs");
        assert!(matches!(lying, ApiError::Misfit { status: 404, .. }) && !lying.is_retryable());
        assert!(matches!(
            answer(200, "{}").data::<Receipt>(),
            Err(ApiError::Misfit { .. })
        ));
    }

    /// Nobody there is "no answer", which a client may try again.
    #[test]
    fn nobody_there() {
        // A port that was just free; nothing listens on it once the listener is gone.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("an address")
            .port();
        let error = Api::new(&format!("http://127.0.0.1:{port}"))
            .stocks()
            .expect_err("nobody");
        assert!(
            matches!(error, ApiError::NoAnswer(_)) && error.is_retryable(),
            "{error}"
        );
    }
}
