//! Models from a hub on this machine that breaks connections, lies and refuses.

mod cached;
mod server;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use crate::common::repository;
#[cfg(unix)]
use crate::terminal::screen::Terminal;
use mustdrop::{
    Error,
    hub::{Hub, Step},
};
use serde_json::Value;
use server::{COMMIT, Fault, LISTING, Server, listing, sha256};

const WEIGHTS: &str = "model.safetensors";

/// Files that look like a model's from outside.
fn files() -> BTreeMap<String, Vec<u8>> {
    let weights = (0..3_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let small = b"{\"model_type\": \"llava\"}".to_vec();
    [("config.json", small), (WEIGHTS, weights), ("README.md", b"not for us".to_vec())]
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .into()
}

fn hub(server: &Server, cache: &Path) -> Hub {
    let hub = Hub::from_env().expect("a hub").endpoint(&server.address()).expect("an address");
    hub.cache(cache).first_wait(Duration::from_millis(1))
}

fn pull(server: &Server, cache: &Path) -> mustdrop::Result<std::path::PathBuf> {
    hub(server, cache).pull(&"org/model".parse()?, &|_| ())
}

/// The cache has these files whole, and nothing half.
fn assert_whole(cache: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let model = cache.join("models--org--model");
    let snapshot = model.join("snapshots").join(COMMIT);
    for name in ["config.json", WEIGHTS] {
        assert!(fs::read(snapshot.join(name)).expect("a file") == files[name], "{name} is what the hub has");
    }
    assert_eq!(
        fs::read_dir(&snapshot).expect("a folder").count(),
        2,
        "what this program reads, and nothing else"
    );
    assert_eq!(fs::read_to_string(model.join("refs/main")).expect("a reference"), COMMIT);
    assert!(
        model.join("blobs").join(sha256(&files[WEIGHTS])).is_file(),
        "blobs have the names of the hub's own tools"
    );
    let blobs = fs::read_dir(model.join("blobs")).expect("a folder");
    assert!(blobs.flatten().all(|blob| !blob.file_name().to_string_lossy().ends_with(".incomplete")));
}

#[test]
fn a_model_is_fetched_once_into_the_shared_layout() {
    let (files, cache) = (files(), tempfile::tempdir().expect("a folder"));
    let server = Server::start(files.clone(), None);
    let steps = Mutex::new(Vec::new());
    let name = "org/model".parse().expect("a name");
    let folder = hub(&server, cache.path())
        .pull(&name, &|step| {
            if !matches!(step, Step::Bytes { .. }) {
                steps.lock().expect("no panic").push(format!("{step:?}"));
            }
        })
        .expect("a model");
    assert!(folder.ends_with(COMMIT));
    assert_whole(cache.path(), &files);
    let steps = steps.into_inner().expect("no panic");
    assert!(steps[0].contains("apache-of-the-test") && steps[0].contains("3000023"), "{steps:?}");
    assert_eq!(steps.iter().filter(|step| step.starts_with("Done")).count(), 2);
    let before = server.requests().len();
    assert_eq!(pull(&server, cache.path()).expect("the cache's"), folder);
    assert_eq!(server.requests().len(), before, "what is there is not asked for");
    let offline = hub(&server, cache.path()).offline(true);
    assert_eq!(offline.pull(&name, &|_| ()).expect("the cache's"), folder);
}

#[test]
fn faults_that_pass_leave_a_whole_file() {
    let files = files();
    type Case = (&'static str, &'static [Fault], &'static [Option<&'static str>]);
    let cases: [Case; 8] = [
        ("a slow server", &[Fault::Slow(100_000)], &[None]),
        ("a broken connection", &[Fault::Break(1_000_000)], &[None, Some("bytes=1000000-")]),
        (
            "many broken connections",
            &[Fault::Break(1), Fault::Break(0), Fault::Break(1_999_999)],
            &[None, Some("bytes=1-"), Some("bytes=1-"), Some("bytes=2000000-")],
        ),
        (
            "too many requests, then a breakdown",
            &[Fault::Status(429), Fault::Status(500)],
            &[None, None, None],
        ),
        ("a server without ranges", &[Fault::Break(5), Fault::IgnoreRange], &[None, Some("bytes=5-")]),
        ("a part from elsewhere", &[Fault::Break(5), Fault::WrongRange], &[None, Some("bytes=5-"), None]),
        ("more bytes announced than come", &[Fault::Length(10)], &[None]),
        ("fewer bytes announced than there are", &[Fault::Length(-10)], &[None, Some("bytes=2999990-")]),
    ];
    for (what, faults, ranges) in cases {
        let cache = tempfile::tempdir().expect("a folder");
        let server = Server::start(files.clone(), None);
        for fault in faults {
            server.fail(WEIGHTS, *fault);
        }
        pull(&server, cache.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_whole(cache.path(), &files);
        let found = server.ranges(WEIGHTS);
        assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), ranges, "{what}");
    }
}

#[test]
fn a_server_that_never_recovers_ends_it_and_keeps_what_came() {
    let (files, cache) = (files(), tempfile::tempdir().expect("a folder"));
    let server = Server::start(files.clone(), None);
    server.fail(WEIGHTS, Fault::Break(70_000));
    for _ in 0..10 {
        server.fail(WEIGHTS, Fault::Status(503));
    }
    let error = pull(&server, cache.path()).expect_err("no end of faults");
    assert!(matches!(error, Error::Model { .. }) && error.to_string().contains("503"), "{error}");
    assert!(hub(&server, cache.path()).find(&"org/model".parse().expect("a name")).is_none());
    let fresh = Server::start(files.clone(), None);
    pull(&fresh, cache.path()).expect("a server in order");
    assert_eq!(fresh.ranges(WEIGHTS), [Some("bytes=70000-".to_owned())], "what came is not fetched again");
    assert_whole(cache.path(), &files);
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let (files, cache) = (files(), tempfile::tempdir().expect("a folder"));
    let server = Server::start(files.clone(), None);
    server.fail(WEIGHTS, Fault::WrongBytes);
    let error = pull(&server, cache.path()).expect_err("a wrong checksum");
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains(&sha256(&files[WEIGHTS])), "{error}");
    pull(&server, cache.path()).expect("the right bytes");
    assert_eq!(server.ranges(WEIGHTS), [None, None], "nothing of the wrong bytes is gone on with");
    assert_whole(cache.path(), &files);
}

#[test]
fn names_that_leave_the_folder_are_left_alone() {
    let (mut all, cache) = (files(), tempfile::tempdir().expect("a folder"));
    for name in ["../../../evil.json", "/tmp/evil.json", "sub/evil.json", "..\\evil.json", ".evil.json"] {
        all.insert(name.into(), b"{}".to_vec());
    }
    let server = Server::start(all.clone(), None);
    pull(&server, cache.path()).expect("the other files");
    assert_whole(cache.path(), &all);
    assert!(server.requests().iter().all(|request| !request.path.contains("evil")));
}

/// The program, with a cache and a hub of its own.
fn mustdrop(server: &Server, cache: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mustdrop"));
    for variable in ["MUSTDROP_MODEL", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE", "HF_TOKEN_PATH"] {
        command.env_remove(variable);
    }
    command.args(arguments).env("HF_HOME", cache).env("HF_ENDPOINT", server.address());
    command
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

#[test]
fn a_token_goes_to_the_hub_and_nowhere_else() {
    let (files, cache) = (files(), tempfile::tempdir().expect("a folder"));
    let store = Server::start(files.clone(), None);
    let server = Server::start(files.clone(), Some(format!("http://localhost:{}", store.port)));
    let output = mustdrop(&server, cache.path(), &["pull", "org/model"]).env("HF_TOKEN", "secret").output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_whole(&cache.path().join("hub"), &files);
    let sent = |server: &Server| {
        server.requests().into_iter().map(|request| request.authorization).collect::<Vec<_>>()
    };
    assert!(sent(&server).iter().all(|token| token.as_deref() == Some("Bearer secret")));
    assert_eq!(sent(&store), [None, None]);

    // The file that `hf auth login` writes does as well.
    fs::write(cache.path().join("token"), "from-the-file\n").expect("a file");
    let output = mustdrop(&server, cache.path(), &["pull", "org/model"]).output().expect("it runs");
    assert!(output.status.success());
    assert_eq!(sent(&server).last(), Some(&Some("Bearer from-the-file".to_owned())));

    let output = mustdrop(&server, cache.path(), &["pull", "org/other"])
        .envs([("HF_TOKEN", "secret"), ("HF_ENDPOINT", "http://example.com")])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2), "no token in the clear");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
}

#[test]
fn a_killed_program_goes_on_where_it_was() {
    let (files, cache) = (files(), tempfile::tempdir().expect("a folder"));
    let stalling = Server::start(files.clone(), None);
    stalling.fail(WEIGHTS, Fault::Stall(1_500_000));
    let mut child = mustdrop(&stalling, cache.path(), &["pull", "org/model"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let model = cache.path().join("hub/models--org--model");
    let partial = model.join("blobs").join(format!("{}.incomplete", sha256(&files[WEIGHTS])));
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |found| found.len()) < 1_500_000 {
        assert!(start.elapsed() < Duration::from_secs(60), "half of the file comes");
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    assert!(!model.join("snapshots").join(COMMIT).join(WEIGHTS).exists(), "a half file has no name");
    assert!(!model.join("refs/main").exists());

    let server = Server::start(files.clone(), None);
    let output = mustdrop(&server, cache.path(), &["pull", "org/model"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout(&output).trim_end().ends_with(COMMIT), "stdout is the folder");
    assert_eq!(server.ranges(WEIGHTS), [Some("bytes=1500000-".to_owned())]);
    assert_whole(&cache.path().join("hub"), &files);
}

#[test]
fn a_model_of_the_hub_answers_as_its_folder_does() {
    let folder = repository("models/picture-book");
    let picture = folder.join("sample_1.png").display().to_string();
    let names = [
        "config.json",
        "generation_config.json",
        WEIGHTS,
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ];
    let files =
        names.into_iter().filter_map(|name| Some((name.to_owned(), fs::read(folder.join(name)).ok()?)));
    let server = Server::start(files.collect(), None);
    let cache = tempfile::tempdir().expect("a folder");
    let describe = |model: &str, more: &[&str]| {
        let arguments = [&["describe", &picture, "--device", "cpu", "--model", model], more].concat();
        mustdrop(&server, cache.path(), &arguments).output().expect("it runs")
    };
    let early = describe("org/model", &["--offline"]);
    assert_eq!(early.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&early.stderr).contains("mustdrop pull org/model"));
    let expected = describe(&folder.display().to_string(), &[]);
    let fetched = describe("org/model", &[]);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(stdout(&fetched), stdout(&expected));
    assert!(!stdout(&expected).trim().is_empty());
    let before = server.requests().len();
    assert_eq!(stdout(&describe("org/model", &["--offline"])), stdout(&expected));
    assert_eq!(server.requests().len(), before);

    let listed = mustdrop(&server, cache.path(), &["models", "--json"]).output().expect("it runs");
    let json: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let model = &json["models"][0];
    assert_eq!((&model["name"], &model["revision"]), (&"org/model".into(), &"main".into()), "{json}");
    assert_eq!((&model["complete"], &model["problem"]), (&true.into(), &Value::Null), "{json}");
    let weights = model["path"].as_str().expect("a path").to_owned() + "/" + WEIGHTS;
    fs::remove_file(weights).expect("it is there");
    let listed = mustdrop(&server, cache.path(), &["models"]).output().expect("it runs");
    assert!(
        stdout(&listed).contains("not yet: `mustdrop pull org/model` completes it"),
        "{}",
        stdout(&listed)
    );
}

#[test]
fn what_the_hub_has_not_is_refused_with_exit_code_3() {
    let (server, cache) = (Server::start(files(), None), tempfile::tempdir().expect("a folder"));
    for (name, code) in [("org/unknown", 3), ("org/model@other", 3), ("nonsense", 2), ("a/../b", 2)] {
        let output = mustdrop(&server, cache.path(), &["pull", name]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let models = mustdrop(&server, cache.path(), &["models"]).output().expect("it runs");
    assert!(
        models.status.success() && stdout(&models).contains("inside the program"),
        "an empty cache is no error"
    );
}

/// What `mustdrop` says on stderr, and its exit code.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_failure_says_what_to_do() {
    let cache = tempfile::tempdir().expect("a folder");
    let failure = |server: &Server, arguments: &[&str], variables: &[(&str, &str)]| {
        let output = mustdrop(server, cache.path(), arguments).envs(variables.iter().copied()).output();
        let output = output.expect("it runs");
        assert!(output.stdout.is_empty());
        said(&output)
    };
    let server = Server::start(files(), None);
    for status in [401, 403] {
        server.fail(LISTING, Fault::Status(status));
        let (code, stderr) = failure(&server, &["pull", "org/model"], &[]);
        assert!(code == Some(3) && stderr.contains("HF_TOKEN") && stderr.contains("licence"), "{stderr}");
    }
    // Nobody listens on port 9 of this machine.
    let start = Instant::now();
    let (code, stderr) = failure(&server, &["pull", "org/model"], &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    assert!(code == Some(3) && stderr.contains("check the network"), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(30));

    let mut vast = listing(&files());
    let siblings = vast["siblings"].as_array_mut().expect("files");
    for file in siblings.iter_mut().filter(|file| file["rfilename"] == WEIGHTS) {
        file["lfs"]["size"] = (1u64 << 60).into();
    }
    let server = Server::start_telling(files(), vast, None);
    let (code, stderr) = failure(&server, &["pull", "org/model"], &[]);
    assert!(
        code == Some(3) && stderr.contains("more on the disk") && stderr.contains("HF_HUB_CACHE"),
        "{stderr}"
    );
    assert!(server.ranges(WEIGHTS).is_empty(), "nothing was fetched");

    let only_pickle = [("config.json", b"{}".to_vec()), ("pytorch_model.bin", vec![0; 9])];
    let server = Server::start(only_pickle.map(|(name, bytes)| (name.to_owned(), bytes)).into(), None);
    let (code, stderr) = failure(&server, &["pull", "org/model"], &[]);
    assert!(code == Some(3) && stderr.contains("runs code"), "{stderr}");
    let (code, stderr) = failure(&server, &["pull", "org/model:Q4_0"], &[]);
    assert!(code == Some(3) && stderr.contains("GGUF"), "{stderr}");
}

#[test]
#[cfg(unix)]
fn one_bar_shows_all_files_in_a_terminal() {
    let (server, cache) = (Server::start(files(), None), tempfile::tempdir().expect("a folder"));
    server.fail(WEIGHTS, Fault::Slow(10_000));
    let (home, address) = (cache.path().display().to_string(), server.address());
    let variables =
        [("HF_HOME", home.as_str()), ("HF_ENDPOINT", &address), ("HF_TOKEN", ""), ("HF_HUB_CACHE", "")];
    let terminal = Terminal::start(cache.path(), &["pull", "org/model"], &variables);
    let screen = terminal.until("a bar", |text| text.contains("of 2 files") && text.contains("MiB/s"));
    let bars: Vec<&str> = screen.lines().filter(|line| line.contains("of 2 files")).collect();
    assert!(bars.len() == 1 && bars[0].contains(" of    2.86 MiB"), "{screen}");
    assert!(screen.contains("licence: apache-of-the-test"), "{screen}");
    let screen = terminal.until("the folder", |text| text.trim_end().ends_with(COMMIT));
    assert!(!screen.contains("of 2 files"), "the bar goes: {screen}");
    assert!(terminal.end().success());
}
