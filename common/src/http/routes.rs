//! The table of a listener's routes: method, path pattern, and a value for each, which is an
//! [`Action`] or an id of the service's own. The table answers 404 and 405 itself.
//!
//! - A pattern is a path, or a path that ends with `{name}`: that stands for one segment which is
//!   not empty, as the client sent it.
//! - `HEAD` is taken wherever `GET` is (RFC 9110 section 9.1); the servers leave its body away.
//! - `OPTIONS` is answered by tables that say so: [`RouteTable::with_options`].
//! - The pattern, never the path, is the label of the request in the metrics. Labels stay few
//!   however many paths strangers invent.

use super::{Request, Responder, Response};
use crate::metrics::Metrics;
use serde::de::DeserializeOwned;

/// Answers a request of one route, or hands it to a queue.
pub type Action<S> = fn(&S, &Request, Responder);

/// One row of the table.
#[derive(Debug)]
pub struct Route<T> {
    method: &'static str,
    pattern: &'static str,
    value: T,
}

impl<T> Route<T> {
    /// Takes `GET` and `HEAD`.
    pub const fn get(pattern: &'static str, value: T) -> Self {
        Self::new("GET", pattern, value)
    }

    /// Takes `POST`.
    pub const fn post(pattern: &'static str, value: T) -> Self {
        Self::new("POST", pattern, value)
    }

    /// Takes `PUT`.
    pub const fn put(pattern: &'static str, value: T) -> Self {
        Self::new("PUT", pattern, value)
    }

    const fn new(method: &'static str, pattern: &'static str, value: T) -> Self {
        Self {
            method,
            pattern,
            value,
        }
    }

    fn takes(&self, method: &str) -> bool {
        self.method == method || (method == "HEAD" && self.method == "GET")
    }

    /// The text in the place of `{name}` if the pattern fits; empty for a pattern without one.
    fn parameter<'p>(&self, path: &'p str) -> Option<&'p str> {
        let Some((prefix, _)) = self.pattern.split_once('{') else {
            return (self.pattern == path).then_some("");
        };
        path.strip_prefix(prefix)
            // One segment: a path below it is another one, which may have a route of its own.
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
    }
}

/// A route that fits a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'p, T> {
    /// The value of the row.
    pub value: T,
    /// The route's name in metrics.
    pub pattern: &'static str,
    /// The segment that the pattern leaves open, not percent-decoded; empty without one.
    pub parameter: &'p str,
}

/// A request that no row takes.
#[derive(Debug, PartialEq, Eq)]
pub enum Missed {
    /// No pattern fits the path.
    Path,
    /// Patterns fit, but not with this method.
    Method {
        /// The route's name in metrics.
        pattern: &'static str,
        /// The methods that it takes, as the field `Allow` lists them.
        allow: String,
        /// Whether the client asked for just this list, with `OPTIONS`.
        asked: bool,
    },
}

/// All routes of a listener. Rows are tried in their order.
#[derive(Debug)]
pub struct RouteTable<T: 'static> {
    routes: &'static [Route<T>],
    options: bool,
}

impl<T: Copy> RouteTable<T> {
    /// A table of these rows.
    pub const fn new(routes: &'static [Route<T>]) -> Self {
        Self {
            routes,
            options: false,
        }
    }

    /// The same table, which also answers `OPTIONS` on each path.
    #[must_use]
    pub const fn with_options(mut self) -> Self {
        self.options = true;
        self
    }

    /// The route of a request.
    ///
    /// # Errors
    /// When the path or the method is not in the table.
    pub fn find<'p>(&self, method: &str, path: &'p str) -> Result<Found<'p, T>, Missed> {
        // The first that fits names the route in the metrics where the method does not.
        let mut first = None;
        for (route, parameter) in self.fitting(path) {
            if route.takes(method) {
                return Ok(Found {
                    value: route.value,
                    pattern: route.pattern,
                    parameter,
                });
            }
            first = first.or(Some(route));
        }
        let pattern = first.ok_or(Missed::Path)?.pattern;
        Err(Missed::Method {
            pattern,
            allow: self.allow(path),
            asked: self.options && method == "OPTIONS",
        })
    }

    fn fitting<'p>(&self, path: &'p str) -> impl Iterator<Item = (&'static Route<T>, &'p str)> {
        let fits = move |route: &'static Route<T>| Some((route, route.parameter(path)?));
        self.routes.iter().filter_map(fits)
    }

    fn allow(&self, path: &str) -> String {
        let mut methods = Vec::new();
        for (route, _) in self.fitting(path) {
            // Over all rows of the path, since GET and POST of one path are two rows.
            methods.push(route.method);
            if route.method == "GET" {
                methods.push("HEAD");
            }
        }
        if self.options {
            methods.push("OPTIONS");
        }
        methods.join(", ")
    }
}

impl<S> RouteTable<Action<S>> {
    /// Does the action of the request's route, or refuses the request.
    pub fn dispatch(&self, service: &S, request: &Request, mut responder: Responder) {
        match self.find(&request.method, &request.path) {
            Ok(found) => {
                responder.set_route(found.pattern);
                (found.value)(service, request, responder);
            }
            Err(missed) => missed.refuse(request, responder),
        }
    }
}

impl Missed {
    /// Answers 404, 405 with `Allow`, or what `OPTIONS` asks for.
    pub fn refuse(self, request: &Request, mut responder: Responder) {
        match self {
            Self::Path => {
                let message = format!("there is nothing at '{}'", shortened(&request.path));
                responder.send(Response::error(404, &message));
            }
            Self::Method {
                pattern,
                allow,
                asked,
            } => {
                responder.set_route(pattern);
                let response = if asked {
                    Response::text(204, "application/json", Vec::new())
                } else {
                    let method = shortened(&request.method);
                    let message = format!("{pattern} does not take {method}, only {allow}");
                    Response::error(405, &message)
                };
                responder.send(response.with_header("Allow", allow));
            }
        }
    }
}

/// The action of `GET /livez`: the process answers.
pub fn livez<S>(_: &S, _: &Request, responder: Responder) {
    responder.send(Response::data("alive"));
}

/// The response of `GET /metrics`.
pub fn metrics_page(metrics: &Metrics) -> Response {
    Response::text(200, Metrics::CONTENT_TYPE, metrics.text())
}

/// Calls `then` with the body as a message of ours; answers 400 if it does not fit.
pub fn with_body<T: DeserializeOwned>(
    request: &Request,
    responder: Responder,
    then: impl FnOnce(T, Responder),
) {
    match request.json() {
        Ok(body) => then(body, responder),
        Err(refusal) => responder.send(refusal),
    }
}

/// Text of a request, cut to 80 characters for a message.
pub fn shortened(text: &str) -> String {
    // By characters: a cut inside one would panic.
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: RouteTable<u8> = RouteTable::new(&[
        Route::get("/orders", 1),
        Route::post("/orders", 2),
        Route::get("/orders/{number}", 3),
        Route::put("/leader", 4),
    ]);

    fn found(method: &str, path: &str) -> Option<(u8, String)> {
        let found = TABLE.find(method, path).ok()?;
        Some((found.value, found.parameter.to_owned()))
    }

    /// Method and pattern choose the row; HEAD is taken where GET is.
    #[test]
    fn a_request_finds_its_row() {
        assert_eq!(found("GET", "/orders"), Some((1, String::new())));
        assert_eq!(found("HEAD", "/orders"), Some((1, String::new())));
        assert_eq!(found("POST", "/orders"), Some((2, String::new())));
        assert_eq!(found("GET", "/orders/a%20b"), Some((3, "a%20b".into())));
        assert_eq!(found("PUT", "/leader"), Some((4, String::new())));
    }

    /// A parameter is one segment that is not empty.
    #[test]
    fn other_paths_are_not_found() {
        for path in ["/", "/order", "/orders/", "/orders/1/2", "/Orders", ""] {
            assert_eq!(TABLE.find("GET", path), Err(Missed::Path), "{path}");
        }
    }

    /// A wrong method is answered with all methods of the path, and OPTIONS only where the table
    /// says so.
    #[test]
    fn a_wrong_method_is_told_from_a_wrong_path() {
        let missed = |pattern, allow: &str, asked| {
            let allow = allow.into();
            Err(Missed::Method {
                pattern,
                allow,
                asked,
            })
        };
        let orders = missed("/orders", "GET, HEAD, POST", false);
        assert_eq!(TABLE.find("DELETE", "/orders"), orders);
        assert_eq!(TABLE.find("OPTIONS", "/orders"), orders);
        assert_eq!(
            TABLE.find("HEAD", "/leader"),
            missed("/leader", "PUT", false)
        );
        let public = RouteTable::new(TABLE.routes).with_options();
        assert_eq!(
            public.find("OPTIONS", "/orders/7"),
            missed("/orders/{number}", "GET, HEAD, OPTIONS", true)
        );
    }

    /// Long text is cut between characters.
    #[test]
    fn text_is_cut_for_messages() {
        assert_eq!(shortened(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(shortened(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
    }
}
