//! A server that a test started, and a small HTTP client to ask it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

/// `mustdrop serve` with the default model on the CPU, on a free port; it ends with the test.
pub struct Server {
    pub child: Child,
    pub address: String,
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let named =
            |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
        self.head.lines().find(named)?.split_once(": ").map(|(_, value)| value)
    }
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mustdrop"))
            .args(["serve", "--device", "cpu", "--port", "0"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let said = lines
            .find_map(|line| line.expect("text").strip_prefix("listening on http://").map(str::to_owned));
        let address = said.expect("the server says where it listens");
        // Somebody has to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Sends a request and leaves the connection open.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        // A server that refuses a body need not read it.
        let _ = stream.write_all(request.as_bytes());
        stream
    }

    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        read(self.send(method, path, headers, body))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "", "")
    }

    pub fn ask(&self, body: &Value) -> Reply {
        read(self.send_question(body))
    }

    pub fn send_question(&self, body: &Value) -> TcpStream {
        self.send("POST", "/v1/chat/completions", "Content-Type: application/json\r\n", &body.to_string())
    }

    /// Sends Ctrl-C.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn read(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    // A connection may be reset behind the reply to a request that was not read to its end.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

/// The events of a stream: the JSON of each, and whether `[DONE]` was the last.
pub fn events(body: &str) -> (Vec<Value>, bool) {
    let data: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let is_done = data.last() == Some(&"[DONE]");
    let json = data.iter().filter(|data| **data != "[DONE]");
    (json.map(|data| serde_json::from_str(data).expect("JSON")).collect(), is_done)
}
