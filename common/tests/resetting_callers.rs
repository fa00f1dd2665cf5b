//! Alone in its program, since it makes a panic end the process, as services do.

use common::http::access::Access;
use common::http::client::{Call, HttpClient};
use common::http::tiny::{TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder, Response};
use common::logging::{LogFormat, LogLevel, LogSettings};
use common::metrics::{HttpMetrics, Metrics};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Answers with the length of the body.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: Request, responder: Responder) {
        responder.send(Response::json(200, &request.body.len()));
    }
}

/// Callers that connect, send and reset before they are accepted end nothing but their own
/// connection. (tiny_http panics over them; were that not contained, this test program would end.)
#[test]
fn callers_that_reset_at_once_end_nobody() {
    let level = LogLevel("warn".parse().expect("a level"));
    common::logging::start(
        "test",
        LogSettings {
            level,
            format: LogFormat::Text,
        },
    );
    common::threads::end_process_on_panic();
    let config = TinyConfig {
        name: "test",
        listen: "127.0.0.1:0".parse().expect("an address"),
        workers: 2,
        body_limit_bytes: 100_000,
        access: Access::internal(None),
    };
    let server = TinyServer::start(config, Arc::new(Echo), HttpMetrics::new(&Metrics::new()))
        .expect("starts");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let address = server.address();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    let Ok(mut stream) = TcpStream::connect(address) else {
                        continue;
                    };
                    let socket = socket2::SockRef::from(&stream);
                    socket.set_linger(Some(Duration::ZERO)).expect("sets");
                    let _sent = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("joins"));
    let base = format!("http://{}", server.address());
    let call = Call {
        method: "POST",
        base: &base,
        path: "/x",
        timeout: Duration::from_secs(5),
        trace: None,
    };
    assert_eq!(
        HttpClient::new(1, None)
            .call::<_, usize>(call, &"abc")
            .expect("answers"),
        5
    );
}
