//! Serves one constant stock from memory, through the edge or through tiny_http, for comparisons:
//! `edge_constant edge|tiny_http <address> <threads>`. Stops on SIGTERM or Ctrl-C.

#![allow(clippy::print_stdout, reason = "for the script that runs it")]

use common::http::access::Access;
use common::http::edge::limits::EdgeConfig;
use common::http::edge::{Edge, FastPath};
use common::http::tiny::{TinyConfig, TinyServer};
use common::http::{Handler, Request, Responder, Response};
use common::metrics::{HttpMetrics, Metrics};
use common::settings::Settings;
use common::settings::addresses::ListenAddress;
use common::shutdown::wait_for_signal;
use std::error::Error;
use std::sync::Arc;

struct Constant {
    body: Arc<[u8]>,
}

const PATH: &str = "/stocks/GameStart";
const BODY: &[u8] = br#"{"data":{"name":"GameStart","price":15.99,"quantity":100}}"#;

impl FastPath for Constant {
    fn cached(&self, path: &str) -> Option<Arc<[u8]>> {
        (path == PATH).then(|| Arc::clone(&self.body))
    }
}

impl Handler for Constant {
    fn handle(&self, request: Request, mut responder: Responder) {
        responder.set_route("/stocks/{name}");
        responder.send(match request.path.as_str() {
            PATH => Response::text(200, "application/json", BODY),
            _ => Response::error(404, "stock not found"),
        });
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, listen, threads] = arguments.as_slice() else {
        return Err("usage: edge_constant edge|tiny_http <address> <threads>".into());
    };
    let (listen, threads): (ListenAddress, usize) = (listen.parse()?, threads.parse()?);
    let (metrics, handler) = (Metrics::new(), Arc::new(Constant { body: BODY.into() }));
    let http = HttpMetrics::new(&metrics);
    // Dropped at the end, which stops it.
    let running: (Option<Edge>, Option<TinyServer>) = match server.as_str() {
        "edge" => {
            let mut settings = Settings::from_environment();
            let config = EdgeConfig::read(&mut settings).with(listen, threads);
            settings.finish()?;
            (Some(Edge::start(config, handler, http, &metrics)?), None)
        }
        "tiny_http" => {
            let (name, body_limit_bytes) = ("constant", 65_536);
            let config = TinyConfig {
                name,
                listen: listen.one(),
                workers: threads,
                body_limit_bytes,
                access: Access::Public,
            };
            (None, Some(TinyServer::start(config, handler, http)?))
        }
        other => return Err(format!("no such server: {other}").into()),
    };
    let signal = wait_for_signal()?;
    drop(running);
    println!("{signal}\n{}", metrics.text());
    Ok(())
}
