//! The real server: routes, answers, refusals, limits, clients that leave, and its end.

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::common::http::{Server, events, read};
use crate::common::repository;
use assert_cmd::Command;
use base64::{Engine, engine::general_purpose::STANDARD};
use predicates::str::contains;
use serde_json::{Value, json};

/// A server with its own limits, for all tests that need no others; it ends with the last of them that holds it.
fn shared() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::start(&["--max-images", "3", "--max-body-mib", "4"]));
        *shared = Arc::downgrade(&server);
        server
    })
}

fn uri(name: &str) -> String {
    let bytes = std::fs::read(repository("models/picture-book").join(name)).expect("a sample");
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

fn image(url: &str) -> Value {
    json!({ "type": "image_url", "image_url": { "url": url } })
}

fn question(name: &str, text: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": [image(&uri(name)), { "type": "text", "text": text }] }] })
}

fn with(mut request: Value, field: &str, value: Value) -> Value {
    request[field] = value;
    request
}

/// An answer that takes seconds: at this temperature all words are as likely as the end, which this seed draws after
/// 982 tokens.
fn long_question() -> Value {
    let request = with(question("sample_2.png", "describe the picture."), "max_tokens", json!(1400));
    let request = with(with(request, "temperature", json!(50.0)), "seed", json!(58));
    with(request, "stream", json!(true))
}

fn describe(arguments: &[&str]) -> String {
    let sample = repository("models/picture-book/sample_3.png");
    let output = Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .arg("describe")
        .arg(sample)
        .args(["describe the picture.", "--device", "cpu"])
        .args(arguments)
        .assert()
        .success();
    String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8").trim_end().to_owned()
}

#[test]
fn answers_are_those_of_describe() {
    let server = shared();
    let asked = question("sample_3.png", "describe the picture.");
    let sampled = with(with(asked.clone(), "temperature", json!(1.5)), "seed", json!(7));
    let cases = [
        (asked.clone(), &[][..]),
        (with(asked.clone(), "mustdrop", json!({ "keep": 64 })), &["--keep", "64"]),
        (
            with(asked, "mustdrop", json!({ "keep": 32, "admit": "class" })),
            &["--keep", "32", "--admit", "class"],
        ),
        (sampled, &["--temperature", "1.5", "--seed", "7"]),
    ];
    for (request, arguments) in cases {
        let reply = server.ask(&request);
        assert_eq!(reply.status, 200, "{}", reply.body);
        let answer = &reply.json()["choices"][0];
        assert_eq!(answer["message"]["content"], describe(arguments), "{arguments:?}");
        assert_eq!(
            (&answer["message"]["role"], &answer["finish_reason"]),
            (&json!("assistant"), &json!("stop"))
        );
    }
}

#[test]
fn a_stream_has_the_same_pieces_an_account_the_usage_and_an_end() {
    let server = shared();
    let request =
        with(question("sample_5.png", "describe the picture."), "mustdrop", json!({ "keep": "64" }));
    let whole = server.ask(&request).json();
    let request =
        with(with(request, "stream", json!(true)), "stream_options", json!({ "include_usage": true }));
    let reply = server.ask(&request);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let (events, is_done) = events(&reply.body);
    assert!(is_done, "{}", reply.body);
    let said: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, whole["choices"][0]["message"]["content"]);
    let [.., last, usage] = &events[..] else { panic!("too few events") };
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["mustdrop"]["pruning"]["pictures"][0]["kept"].as_array().expect("stages").len(), 1);
    assert_eq!(usage["usage"], whole["usage"]);
    assert_eq!(
        (&usage["usage"]["image_tokens"], &usage["usage"]["image_tokens_kept"]),
        (&json!(576), &json!(64))
    );
    assert!(last["mustdrop"]["kv_bytes"].as_u64().expect("bytes") > 0);
}

#[test]
fn a_picture_seen_before_is_not_encoded_again_under_the_same_rules() {
    let server = shared();
    let request = question("sample_6.png", "what is in the picture?");
    let cached = |request: &Value| server.ask(request).json()["mustdrop"]["cached_pictures"].clone();
    assert_eq!(cached(&request), 0);
    assert_eq!(cached(&request), 1);
    let pruned = with(request, "mustdrop", json!({ "keep": 100 }));
    assert_eq!(cached(&pruned), 0, "another policy sees another picture");
    assert_eq!(cached(&pruned), 1);
    assert!(server.get("/health").json()["cached_bytes"].as_u64().expect("bytes") > 100_000);
}

#[test]
fn conversations_limits_and_stops_work_as_clients_expect() {
    let server = shared();
    let request = json!({ "model": "picture-book", "max_completion_tokens": 3, "user": "someone", "messages": [
        { "role": "system", "content": "be brief" },
        { "role": "user", "content": [image(&uri("sample_1.png")), { "type": "text", "text": "what is in the picture?" }] },
        { "role": "assistant", "content": "an elephant" },
        { "role": "user", "content": [{ "type": "text", "text": "describe the picture." }, image(&uri("sample_2.png"))] },
    ]});
    let reply = server.ask(&request);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let reply = reply.json();
    assert_eq!(reply["choices"][0]["finish_reason"], "length");
    assert_eq!(
        (&reply["usage"]["completion_tokens"], &reply["usage"]["image_tokens"]),
        (&json!(3), &json!(1152))
    );
    let stopped = with(question("sample_1.png", "describe the picture."), "stop", json!(" elephant"));
    assert_eq!(server.ask(&stopped).json()["choices"][0]["message"]["content"], "an");
}

#[test]
fn what_cannot_be_answered_is_refused_in_openais_shape() {
    let server = shared();
    let asked = || question("sample_1.png", "what is in the picture?");
    let shown = |url: &str| json!({ "messages": [{ "role": "user", "content": [image(url)] }] });
    let many = json!({ "messages": [{ "role": "user", "content": [
        image(&uri("sample_1.png")), image(&uri("sample_1.png")), image(&uri("sample_1.png")), image(&uri("sample_1.png"))] }] });
    let cases = [
        (with(asked(), "model", json!("gpt-4o")), 404, "model", "picture-book"),
        (with(asked(), "n", json!(2)), 400, "n", "expected 1"),
        (with(asked(), "tools", json!([{ "type": "function" }])), 400, "tools", "no tools"),
        (with(asked(), "max_tokens", json!(0)), 400, "max_new_tokens", "from 1 up"),
        (with(asked(), "temperature", json!(-1)), 400, "temperature", "-1"),
        (with(asked(), "mustdrop", json!({ "keep": 577 })), 400, "--keep", "576"),
        (with(asked(), "mustdrop", json!({ "policy": "best" })), 400, "--policy", "visionzip"),
        (with(asked(), "mustdrop", json!({ "admit": "class" })), 400, "mustdrop", "with a keep"),
        (
            with(asked(), "mustdrop", json!({ "keep": 64, "admit": "best" })),
            400,
            "--admit",
            "coverage, class",
        ),
        (with(asked(), "mustdrop", json!({ "kept": 5 })), 400, "", "unknown field `kept`"),
        (
            shown("http://169.254.169.254/latest"),
            400,
            "messages[0].content[0].image_url.url",
            "fetches nothing",
        ),
        (shown("file:///etc/passwd"), 400, "messages[0].content[0].image_url.url", "fetches nothing"),
        (shown("data:image/png;base64,AAAA"), 400, "messages[0].content[0].image_url.url", "PNG"),
        (shown("data:image/png;base64,*"), 400, "messages[0].content[0].image_url.url", "base64"),
        (many, 400, "messages", "at most 3 pictures"),
        (json!({ "messages": [] }), 400, "messages", "last"),
        (json!({ "messages": [{ "role": "user", "content": "a ".repeat(4000) }] }), 400, "", "context"),
        (
            json!({ "messages": [{ "role": "user", "content": "a".repeat(1 << 20) }] }),
            400,
            "messages",
            "too long",
        ),
        (json!({ "messages": [{ "role": "user", "content": "a".repeat(5 << 20) }] }), 413, "", "bytes"),
    ];
    for (request, status, param, part) in cases {
        let reply = server.ask(&request);
        assert_eq!(reply.status, status, "{}", reply.body);
        let error = &reply.json()["error"];
        assert!(error["message"].as_str().expect("a message").contains(part), "{part}: {error}");
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let plain = server.request("POST", "/v1/chat/completions", "Content-Type: text/plain\r\n", "{}");
    assert_eq!(plain.status, 415);
}

#[test]
fn the_other_routes_answer_and_foreign_sites_are_refused() {
    let server = shared();
    assert_eq!(server.get("/v1/models").json()["data"][0]["id"], "picture-book");
    assert_eq!(server.get("/v1/models/picture-book").json()["context_length"], 2048);
    assert_eq!(server.get("/v1/models/other").status, 404);
    assert_eq!(server.get("/health").json()["status"], "ok");
    let description = server.get("/openapi.json").json();
    for path in ["/v1/chat/completions", "/v1/models", "/v1/models/{name}", "/health"] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    let page = server.get("/");
    assert!(page.header("content-security-policy").expect("a policy").contains("default-src 'none'"));
    assert_eq!(server.get("/nowhere").json()["error"]["code"], "unknown_url");
    assert_eq!(server.get("/v1/chat/completions").status, 405);
    for headers in ["Host: example.com\r\n", "Origin: http://example.com\r\n", "Origin: null\r\n"] {
        let reply = server.request("GET", "/health", headers, "");
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (403, None), "{headers}");
    }
    let own = format!("Origin: http://{}\r\n", server.address);
    assert_eq!(server.request("GET", "/health", &own, "").status, 200);
}

#[test]
fn a_token_opens_the_api_and_is_required_elsewhere() {
    let server = Server::start(&["--token", "secret"]);
    assert_eq!(server.get("/health").status, 200);
    for header in ["", "Authorization: Bearer secre\r\n", "Authorization: Basic secret\r\n"] {
        let reply = server.request("GET", "/v1/models", header, "");
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    }
    assert_eq!(server.request("GET", "/v1/models", "Authorization: Bearer secret\r\n", "").status, 200);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mustdrop"));
    command.args(["serve", "--host", "0.0.0.0", "--port", "0"]).env_remove("MUSTDROP_TOKEN");
    command.assert().code(2).stdout("").stderr(contains("--token"));
}

#[test]
fn a_full_queue_says_so_and_a_client_that_left_frees_it() {
    let server = Server::start(&["--queue", "0"]);
    let mut stream = server.send_question(&long_question());
    // The first bytes come when the answer has begun.
    stream.read_exact(&mut [0; 64]).expect("an answer");
    let full = server.ask(&question("sample_1.png", "is there a spider?"));
    assert_eq!(full.status, 429, "{}", full.body);
    assert!(full.header("retry-after").expect("a time").parse::<u64>().expect("seconds") >= 1);
    drop(stream);
    let left = Instant::now();
    let reply = loop {
        let reply = server.ask(&question("sample_1.png", "is there a spider?"));
        if reply.status != 429 || left.elapsed() > Duration::from_secs(10) {
            break reply;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "no");
}

#[test]
fn an_answer_that_takes_too_long_ends_in_an_error() {
    let server = Server::start(&["--time-limit", "1"]);
    let reply = server.ask(&long_question());
    // A machine that is slow enough has not begun by then.
    let (error, is_done) = match reply.status {
        504 => (reply.json(), false),
        _ => {
            let (events, is_done) = events(&reply.body);
            (events.last().expect("an event").clone(), is_done)
        }
    };
    assert_eq!(error["error"]["code"], "timeout", "{}", reply.body);
    assert!(!is_done);
    let whole = server.ask(&with(long_question(), "stream", json!(false)));
    assert_eq!(whole.status, 504, "{}", whole.body);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_running_answers_within_seconds() {
    let mut server = Server::start(&[]);
    let mut stream = server.send_question(&long_question());
    stream.read_exact(&mut [0; 64]).expect("an answer");
    let start = Instant::now();
    server.interrupt();
    assert_eq!(server.child.wait().expect("the program ends").code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("an orderly end of the stream");
    assert!(rest.contains("the server is ending") || rest.contains("[DONE]"), "{rest:?}");
}

#[test]
fn waiting_requests_are_answered_in_their_turn() {
    let server = shared();
    let asked = question("sample_1.png", "is there a spider?");
    let streams: Vec<_> = (0..3).map(|_| server.send_question(&asked)).collect();
    for stream in streams {
        assert_eq!(read(stream).json()["choices"][0]["message"]["content"], "no");
    }
}
