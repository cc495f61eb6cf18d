//! A hub of one model on this machine, with faults.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What goes wrong with requests for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    Break(usize),
    /// So many bytes come, and then nothing for a long time.
    Stall(usize),
    /// This status, with `Retry-After: 0`.
    Status(u16),
    /// The whole file, whatever part was asked for.
    IgnoreRange,
    /// A part, but from another byte on than asked for.
    WrongRange,
    /// A `Content-Length` of so many bytes more or less than there are.
    Length(i64),
    /// The right number of wrong bytes.
    WrongBytes,
    /// So many bytes at once, and a moment before the next.
    Slow(usize),
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

type Faults = Arc<Mutex<Vec<(String, Fault)>>>;

/// Serves until the process ends.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    faults: Faults,
}

/// The name by which faults of the listing are given.
pub const LISTING: &str = "<listing>";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Server {
    /// A hub whose only model has these files; with `elsewhere`, contents are at that address.
    pub fn start(files: BTreeMap<String, Vec<u8>>, elsewhere: Option<String>) -> Self {
        let listing = listing(&files);
        Self::start_telling(files, listing, elsewhere)
    }

    /// The same, of which the hub tells this.
    pub fn start_telling(
        files: BTreeMap<String, Vec<u8>>,
        listing: Value,
        elsewhere: Option<String>,
    ) -> Self {
        let listing = Arc::new(listing.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Self { port, requests: Arc::default(), faults: Arc::default() };
        let (requests, faults, files) = (server.requests.clone(), server.faults.clone(), Arc::new(files));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (requests, faults, files) = (requests.clone(), faults.clone(), files.clone());
                let (elsewhere, listing) = (elsewhere.clone(), listing.clone());
                // A client that leaves is none of the server's business.
                thread::spawn(move || {
                    drop(answer(stream, &requests, &faults, (&files, &listing), elsewhere.as_deref()))
                });
            }
        });
        server
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next request for `file` meets with `fault`; several are met with one after the other.
    pub fn fail(&self, file: &str, fault: Fault) {
        self.faults.lock().expect("no panic").push((file.into(), fault));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    /// The ranges that were asked for of a file.
    pub fn ranges(&self, file: &str) -> Vec<Option<String>> {
        let of_file = self.requests().into_iter().filter(|request| request.path.ends_with(file));
        of_file.map(|request| request.range).collect()
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut request =
        Request { path: first.split(' ').nth(1).unwrap_or_default().into(), ..Request::default() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().into()),
            "authorization" => request.authorization = Some(value.trim().into()),
            _ => {}
        }
    }
    Ok(request)
}

pub fn listing(files: &BTreeMap<String, Vec<u8>>) -> Value {
    let siblings = files.iter().map(|(name, bytes)| {
        let mut sibling = json!({"rfilename": name, "size": bytes.len(), "blobId": &sha256(bytes)[..40]});
        if name.ends_with(".safetensors") || name.ends_with(".gguf") {
            sibling["lfs"] = json!({"sha256": sha256(bytes), "size": bytes.len()});
        }
        sibling
    });
    let card = json!({"license": "other", "license_name": "apache-of-the-test"});
    json!({"sha": COMMIT, "siblings": siblings.collect::<Vec<_>>(), "cardData": card})
}

fn answer(
    mut stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    faults: &Mutex<Vec<(String, Fault)>>,
    (files, listing): (&BTreeMap<String, Vec<u8>>, &str),
    elsewhere: Option<&str>,
) -> std::io::Result<()> {
    let request = read(&stream)?;
    requests.lock().expect("no panic").push(request.clone());
    let name = request.path.rsplit('/').next().unwrap_or_default().to_owned();
    let refused = {
        let mut faults = faults.lock().expect("no panic");
        let position =
            faults.iter().position(|(file, _)| file == LISTING && request.path.starts_with("/api/"));
        position.map(|position| faults.remove(position).1)
    };
    if let Some(Fault::Status(code)) = refused {
        return write!(stream, "HTTP/1.1 {code} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if request.path.starts_with("/api/models/org/model/revision/main") {
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{listing}",
            listing.len()
        );
    }
    let Some(bytes) = files.get(&name).filter(|_| request.path.contains("/resolve/")) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if let Some(elsewhere) = elsewhere {
        let location = format!("{elsewhere}{}", request.path);
        let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close\r\n";
        return write!(stream, "{head}Location: {location}\r\n\r\n");
    }
    let fault = {
        let mut faults = faults.lock().expect("no panic");
        let position = faults.iter().position(|(file, _)| *file == name);
        position.map(|position| faults.remove(position).1)
    };
    let asked = request
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (start, status) = match (asked, fault) {
        (Some(_), Some(Fault::IgnoreRange)) | (None, _) => (0, "200 OK".to_owned()),
        (Some(start), _) => (start, "206 Partial Content".to_owned()),
    };
    let status = match fault {
        Some(Fault::Status(code)) => {
            let head = format!(
                "HTTP/1.1 {code} No\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return stream.write_all(head.as_bytes());
        }
        _ => status,
    };
    let mut body = bytes.get(start..).unwrap_or_default().to_vec();
    let mut length = body.len() as i64;
    let told = if fault == Some(Fault::WrongRange) { start + 1 } else { start };
    match fault {
        Some(Fault::Length(more)) => length += more,
        Some(Fault::WrongBytes) => body.iter_mut().for_each(|byte| *byte = !*byte),
        _ => {}
    }
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n")?;
    if status.starts_with("206") {
        write!(stream, "Content-Range: bytes {told}-{}/{}\r\n", bytes.len() - 1, bytes.len())?;
    }
    stream.write_all(b"\r\n")?;
    match fault {
        Some(Fault::Break(count)) => stream.write_all(&body[..count.min(body.len())]),
        Some(Fault::Stall(count)) => {
            stream.write_all(&body[..count.min(body.len())])?;
            stream.flush()?;
            thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Some(Fault::Slow(count)) => body.chunks(count).try_for_each(|chunk| {
            stream.write_all(chunk)?;
            thread::sleep(Duration::from_millis(5));
            Ok(())
        }),
        _ => stream.write_all(&body),
    }
}
