//! A small HTTP server for fakes. Unlike the servers of the product it can be killed as a process
//! is: its listener and all its connections close at once, calls in flight included. Each
//! connection has a thread, so that an answer may be held back.

use parking_lot::Mutex;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A request to a fake.
pub struct Call {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

impl Call {
    /// Its body as a message.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("a front-end sends what the protocol says")
    }
}

/// A fake's answer.
pub enum Reply {
    Json(u16, Value),
    /// The same under an epoch.
    Dated(u64, u16, Value),
    /// Close the connection instead.
    Hang,
}

impl Reply {
    pub fn ok<T: serde::Serialize>(value: &T) -> Self {
        Self::status(200, value)
    }

    pub fn status<T: serde::Serialize>(status: u16, value: &T) -> Self {
        Self::Json(status, serde_json::to_value(value).expect("serialises"))
    }
}

pub type Answerer = dyn Fn(Call) -> Reply + Send + Sync;

/// A running fake.
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Box<Answerer>,
    killed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl FakeServer {
    pub fn start(answer: impl Fn(Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let answer = Box::new(answer);
        let shared = Arc::new(Shared {
            answer,
            killed: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes everything. From then on connections are refused.
    pub fn kill(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.shared.killed.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        acceptor.join().expect("the acceptor ends");
        for stream in self.shared.open.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.killed.load(Ordering::SeqCst) {
            return;
        }
        stream.set_nodelay(true).expect("is open");
        shared
            .open
            .lock()
            .push(stream.try_clone().expect("is open"));
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve(stream, &shared));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().expect("is open"));
    while let Some(call) = read_call(&mut reader) {
        let (epoch, status, body) = match (shared.answer)(call) {
            Reply::Json(status, body) => (String::new(), status, body),
            Reply::Dated(epoch, status, body) => {
                (format!("Bazaar-Epoch: {epoch}\r\n"), status, body)
            }
            Reply::Hang => break,
        };
        if shared.killed.load(Ordering::SeqCst) {
            break;
        }
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} Status\r\n{epoch}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn read_call(reader: &mut BufReader<TcpStream>) -> Option<Call> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        let Some((name, value)) = field.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Call { method, path, body })
}
