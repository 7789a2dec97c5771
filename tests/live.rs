//! Services that are judged while they run: what they find, and that they go on whatever is asked of them.
//!
//! There is one heap and one `Live` in a process. So each test starts this executable again as a service.

mod common;
#[path = "live/services.rs"]
mod services;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::live();

/// Environment variable with the name of the service that this process is.
const SERVICE: &str = "AFTERDROP_TEST_SERVICE";

/// Longest wait for a condition. It is only reached if the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(SERVICE) {
        services::run(&name);
        return ExitCode::SUCCESS;
    }
    let tests = vec![
        trial("a_leak_grows_at_its_line", a_leak_grows_at_its_line),
        trial(
            "what_is_replaced_does_not_grow",
            what_is_replaced_does_not_grow,
        ),
        trial(
            "metrics_have_the_lower_end_of_the_growth",
            metrics_have_the_lower_end_of_the_growth,
        ),
        trial("the_page_names_the_line", the_page_names_the_line),
        trial(
            "a_profile_with_names_has_the_function",
            a_profile_with_names_has_the_function,
        ),
        trial(
            "the_service_does_not_begin_in_its_helper",
            the_service_does_not_begin_in_its_helper,
        ),
        trial(
            "parallel_requests_and_forks_do_no_harm",
            parallel_requests_and_forks_do_no_harm,
        ),
        trial(
            "what_is_no_request_is_refused",
            what_is_no_request_is_refused,
        ),
        trial("two_are_refused", two_are_refused),
        trial(
            "one_that_was_stopped_lets_another_start",
            one_that_was_stopped_lets_another_start,
        ),
        trial(
            "a_leak_is_found_by_one_that_was_started_later",
            a_leak_is_found_by_one_that_was_started_later,
        ),
        trial(
            "why_there_is_no_analysis_is_told",
            why_there_is_no_analysis_is_told,
        ),
        trial(
            "off_is_a_service_that_finds_nothing",
            off_is_a_service_that_finds_nothing,
        ),
        trial(
            "an_interval_that_means_nothing_is_refused",
            an_interval_that_means_nothing_is_refused,
        ),
    ];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// A running service. It ends when this is dropped.
struct Service {
    child: Child,
    /// It runs until this is closed.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: String,
}

/// Starts a service that samples one block in so many bytes.
fn start(name: &str, live: &str) -> Service {
    start_in(Path::new("."), name, live)
}

/// The same in a folder.
fn start_in(folder: &Path, name: &str, live: &str) -> Service {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(SERVICE, name)
        .env("AFTERDROP_LIVE", live)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut service = Service {
        input: child.stdin.take(),
        output: BufReader::new(child.stdout.take().unwrap()),
        child,
        address: String::new(),
    };
    assert_eq!(service.line(), "begun");
    service.address = service.line();
    service
}

impl Service {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// The status and the body of an answer.
    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: service\r\n\r\n"))
    }

    fn send(&self, request: &str) -> (u16, Vec<u8>) {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }

    fn text(&self, path: &str) -> String {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).unwrap()
    }

    /// The value of a metric without labels of its own.
    fn metric(&self, name: &str) -> f64 {
        let metrics = self.text("/metrics");
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a metric is at least as large.
    fn wait_for(&self, metric: &str, least: f64) {
        let begun = Instant::now();
        while self.metric(metric) < least {
            assert!(begun.elapsed() < PATIENCE, "{metric}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The first report for which a condition holds.
    fn report(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let report: Value = serde_json::from_str(&self.text("/debug/afterdrop.json")).unwrap();
            if is_wanted(&report) {
                return report;
            }
            assert!(begun.elapsed() < PATIENCE, "{report:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Lets it end, and returns what it has said since.
    fn end(mut self) -> String {
        self.input = None;
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The call site of a function of `services`.
fn site<'a>(report: &'a Value, function: &str) -> Option<&'a Value> {
    let name = format!("live::services::{function}");
    let sites = report["call_sites"].as_array()?;
    sites.iter().find(|site| site["function"] == name.as_str())
}

/// Whether the leak is known to grow.
fn leak_grows(report: &Value) -> bool {
    site(report, "leak").is_some_and(|site| site["verdict"] == "growing")
}

fn planted_line() -> u64 {
    let text = include_str!("live/services.rs");
    let index = text.lines().position(|line| line.ends_with("// PLANTED"));
    index.unwrap() as u64 + 1
}

fn a_leak_grows_at_its_line() {
    let service = start("leak", "4096");
    let report = service.report(leak_grows);
    let leak = site(&report, "leak").unwrap();
    assert_eq!(leak["line"], planted_line());
    let interval = &leak["bytes_per_cycle_interval"];
    assert!(interval[0].as_f64().unwrap() > 0.0, "{interval}");
    // It may not be called a leak before a day is over.
    assert_eq!(report["verdict"], "growing");
    assert!(report["live"]["seconds"].as_f64().unwrap() >= 0.04);
    service.end();
}

fn what_is_replaced_does_not_grow() {
    let service = start("clean", "4096");
    let enough = |report: &Value| {
        report["boundaries"]
            .as_array()
            .is_some_and(|b| b.len() > 40)
    };
    let report = service.report(enough);
    for name in ["answer", "work"] {
        let verdict = site(&report, name).map_or("none", |s| s["verdict"].as_str().unwrap());
        assert!(
            !["growing", "leak"].contains(&verdict),
            "{name}: {verdict}\n{report:#}"
        );
    }
    service.end();
}

fn metrics_have_the_lower_end_of_the_growth() {
    let service = start("leak", "4096");
    service.report(leak_grows);
    let metrics = service.text("/metrics");
    let of_leak = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| {
            line.starts_with(name) && line.contains("function=\"live::services::leak\"")
        });
        let line = line.unwrap_or_else(|| panic!("{name} in\n{metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let [low, growth, high] = ["_lower", "", "_upper"]
        .map(|end| of_leak(&format!("afterdrop_call_site_growth{end}_bytes_per_hour{{")));
    assert!(
        0.0 < low && low <= growth && growth <= high,
        "{low} {growth} {high}"
    );
    assert!(metrics.contains("verdict=\"growing\"} 1"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    service.end();
}

fn the_page_names_the_line() {
    let service = start("leak", "4096");
    let before = service.text("/debug/afterdrop");
    service.report(leak_grows);
    let page = service.text("/debug/afterdrop");
    let place = format!("services.rs:{}", planted_line());
    assert!(
        page.contains(&place) && page.contains("per hour"),
        "{before}\n{page}"
    );
    service.end();
}

fn a_profile_with_names_has_the_function() {
    let service = start("leak", "4096");
    // The ring of answers is half full.
    service.wait_for("afterdrop_live_bytes", 300_000.0);
    let (status, profile) = service.get("/debug/pprof/heap?symbolize=1");
    assert_eq!(status, 200);
    let mut text = Vec::new();
    let mut zipped = flate2::read::GzDecoder::new(&profile[..]);
    zipped.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("live::services::answer"), "{text}");
    service.end();
}

fn the_service_does_not_begin_in_its_helper() {
    let service = start("leak", "4096");
    service.report(|report| !report.is_null());
    // The helper has the same output.
    assert_eq!(service.end(), "");
}

fn parallel_requests_and_forks_do_no_harm() {
    let service = start("forks", "4096");
    std::thread::scope(|scope| {
        for path in [
            "/debug/pprof/heap",
            "/debug/pprof/allocs",
            "/metrics",
            "/debug/afterdrop",
        ] {
            let service = &service;
            scope.spawn(move || {
                for _ in 0..50 {
                    let (status, body) = service.get(path);
                    assert!(status == 200 && !body.is_empty(), "{path}");
                }
            });
        }
    });
    service.end();
}

fn what_is_no_request_is_refused() {
    let service = start("clean", "4096");
    assert_eq!(service.send("nonsense\r\n\r\n").0, 400);
    assert_eq!(service.send("POST /metrics HTTP/1.1\r\n\r\n").0, 405);
    let (status, body) = service.get("/nothing");
    assert_eq!(status, 404);
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("/debug/afterdrop")
    );
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    let refused = std::panic::catch_unwind(|| service.send(&long).0);
    // It may close the connection while the client still sends.
    assert!(refused.is_err() || refused.is_ok_and(|status| status == 400));
    assert_eq!(service.get("/metrics").0, 200);
    service.end();
}

/// What a service says that ends by itself, and its exit code.
fn said(name: &str, live: &str) -> (String, Option<i32>) {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(SERVICE, name)
        .env("AFTERDROP_LIVE", live)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (said, output.status.code())
}

fn two_are_refused() {
    let (said, code) = said("two", "4096");
    assert!(
        said.contains("there is one in this process already"),
        "{said}"
    );
    assert_eq!(code, Some(0));
}

fn one_that_was_stopped_lets_another_start() {
    assert_eq!(said("restart", "4096"), ("restarted\n".into(), Some(0)));
}

fn a_leak_is_found_by_one_that_was_started_later() {
    let service = start("second", "4096");
    // Blocks that were born in windows of the first are no reason to leave out those of the second.
    let report = service.report(|report| !report.is_null());
    let warnings = report["warnings"].to_string();
    assert!(!warnings.contains("journal"), "{warnings}");
    service.report(leak_grows);
    service.end();
}

fn why_there_is_no_analysis_is_told() {
    let folder = common::Folder::new();
    std::fs::write(folder.join("afterdrop.toml"), "[[allow]]\npattern = 1\n").unwrap();
    let service = start_in(folder.path(), "clean", "4096");
    // So many that their journals are longer than a pipe holds.
    service.wait_for("afterdrop_windows", 150.0);
    let failures = service.metric("afterdrop_analysis_failures");
    service.wait_for("afterdrop_analysis_failures", failures + 2.0);
    let page = service.text("/debug/afterdrop");
    assert!(page.contains("afterdrop.toml:2"), "{page}");
    service.end();
}

fn off_is_a_service_that_finds_nothing() {
    let service = start("leak", "off");
    assert_eq!(service.text("/debug/afterdrop.json"), "null\n");
    assert!(
        service
            .text("/debug/afterdrop")
            .contains("AFTERDROP_LIVE=off")
    );
    assert!(service.text("/metrics").contains("afterdrop_recording{"));
    assert_eq!(service.get("/debug/pprof/heap").0, 200);
    service.end();
}

fn an_interval_that_means_nothing_is_refused() {
    let (said, code) = said("leak", "12MB");
    assert!(
        said.contains("AFTERDROP_LIVE must be a positive number"),
        "{said}"
    );
    assert_eq!(code, Some(2));
}
