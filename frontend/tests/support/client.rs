//! A client that sends bytes and reads bytes, so that tests see what goes over the wire.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Calls one listener, one connection a call.
#[derive(Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Everything before the body.
    pub head: String,
    pub text: String,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The message of a failure, after a look at its envelope.
    pub fn message(&self) -> &str {
        assert_eq!(self.body["error"]["code"], self.status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.body["error"]["message"].as_str().expect("a message")
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[], body)
    }

    pub fn buy(&self, name: &str, quantity: u64) -> Answer {
        self.post("/orders", &order("buy", name, quantity))
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("the front-end listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("is open");
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            // Internal listeners take JSON alone.
            request += "Content-Type: application/json\r\n";
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        stream
            .write_all(format!("{request}\r\n{body}").as_bytes())
            .expect("is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("is answered");
        let answer = String::from_utf8(answer).expect("is text");
        let (head, text) = answer.split_once("\r\n\r\n").expect("has a head");
        let status = head
            .split(' ')
            .nth(1)
            .expect("has a status")
            .parse()
            .expect("is a number");
        let body = serde_json::from_str(text).unwrap_or(Value::Null);
        Answer {
            status,
            head: head.into(),
            text: text.into(),
            body,
        }
    }
}

pub fn order(side: &str, name: &str, quantity: u64) -> String {
    format!(r#"{{"name":"{name}","quantity":{quantity},"type":"{side}"}}"#)
}
