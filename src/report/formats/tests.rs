//! What all formats have in common: nothing is lost, and nothing in a name is interpreted.

use std::io::Read;

use super::{Format, html, pprof, render, schema};
use crate::base::text::printable;
use crate::model::frame::{Frame, Owner};
use crate::model::profile::{Born, Excerpt, Generation, Mapping, Profile, ProfileStack};
use crate::model::report::{CallSite, Report, RunVerdict};
use crate::model::verdict::Verdict;
use crate::report::example;

/// Markup, separators of fields, and escape sequences, which a name must not smuggle in.
const HOSTILE: &str = "<script>alert(1)</script>;--|`a`\"b'&amp;\u{1b}[2J\r\n=1]]>*_[x](y)\\";

/// A report with a profile. Its worst call site has this function.
pub(super) fn with_profile(function: &str) -> Report {
    let mut report = example::report();
    let frame = |function: &str, file: Option<&str>| Frame {
        function: function.into(),
        file: file.map(str::to_owned),
        line: file.map(|_| 42),
        owner: Owner::Own,
    };
    let file = "app/\u{1b}[31ma b;c.rs";
    report.call_sites[0].function = function.into();
    report.call_sites[0].file = Some(file.into());
    report.call_sites[0].stack[2] = frame(function, Some(file));
    report.call_sites[0].source = Some(Excerpt {
        first_line: 41,
        lines: vec![String::new(), function.into()],
    });
    report.call_sites[0].lives = vec![Generation {
        cycle: 2,
        live: vec![(2, 100), (5, 0)],
    }];
    let born = |cycle, bytes| Born {
        cycle,
        bytes,
        blocks: 1,
    };
    let stack = |site, frames: &[u32], live: &[Born]| ProfileStack {
        site,
        frames: frames.into(),
        calls: frames.iter().map(|&f| (0x1000 + u64::from(f), 1)).collect(),
        live: live.into(),
    };
    report.profile = Profile {
        frames: vec![frame(function, Some(file)), frame("serving::main", None)],
        stacks: vec![
            stack(0, &[0, 1], &[born(1, 100), born(2, 200)]),
            stack(0, &[1], &[born(2, 1000)]),
            // The same frames, at a call site of another phase.
            stack(1, &[1], &[born(1, 7)]),
            stack(1, &[], &[born(3, 5)]),
        ],
        mappings: vec![Mapping {
            start: 0x1000,
            end: 0x2000,
            offset: 0,
            path: "target/app".into(),
        }],
    };
    report
}

/// Bytes and blocks of [`with_profile`].
const SUM: (u64, u64) = (1312, 5);

fn text(report: &Report, format: Format) -> String {
    String::from_utf8(render(report, format).unwrap()).unwrap()
}

fn json(report: &Report, format: Format) -> serde_json::Value {
    serde_json::from_str(&text(report, format)).unwrap()
}

/// The decompressed profile.
fn inflated(report: &Report) -> Vec<u8> {
    let zipped = render(report, Format::Pprof).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&zipped[..])
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn every_format_writes_every_report() {
    let mut empty = example::report();
    empty.call_sites.clear();
    empty.boundaries.clear();
    empty.warnings.clear();
    for report in [
        example::report(),
        with_profile("serving::reload"),
        with_profile(HOSTILE),
        empty,
    ] {
        for format in Format::ALL {
            let bytes = render(&report, format).unwrap();
            let folded = format == Format::Collapsed && report.samples().next().is_none();
            assert!(!bytes.is_empty() || folded, "{format}");
        }
    }
}

#[test]
fn names_are_found_and_files_differ() {
    for format in Format::ALL {
        assert_eq!(Format::named(format.name()), Ok(vec![format]));
        let same = Format::ALL.iter().filter(|f| f.file() == format.file());
        assert_eq!(same.count(), 1);
    }
    assert_eq!(Format::named("csv").unwrap().len(), 2);
    assert_eq!(Format::named("all").unwrap().len(), Format::ALL.len());
    assert!(Format::named("pdf").unwrap_err().contains("markdown"));
}

#[test]
fn no_format_lets_a_control_character_through() {
    let report = with_profile(HOSTILE);
    for format in Format::ALL.into_iter().filter(|f| *f != Format::Pprof) {
        let text = text(&report, format);
        let control = text
            .chars()
            .find(|c| c.is_control() && !"\n\t".contains(*c));
        // RFC 4180 allows the line break that the csv crate writes.
        assert_eq!(control, None, "{format}");
    }
    let profile = inflated(&report);
    assert!(!profile.windows(2).any(|w| w == b"\x1b["));
}

#[test]
fn markup_in_a_name_is_text() {
    let report = with_profile(HOSTILE);
    for format in [
        Format::Html,
        Format::Markdown,
        Format::Junit,
        Format::Flame,
        Format::Icicle,
    ] {
        let text = text(&report, format);
        assert!(!text.contains("<script>alert"), "{format}: {text}");
        assert!(text.contains("&lt;script"), "{format}");
    }
}

#[test]
fn a_call_site_that_is_data_cannot_end_its_element() {
    let mut report = with_profile("a");
    let mut many = report.call_sites[1].clone();
    many.function = HOSTILE.into();
    report.call_sites.extend(std::iter::repeat_n(many, 1000));
    let page = text(&report, Format::Html);
    let (_, data) = page.split_once("id=\"rest\">").unwrap();
    let (data, _) = data.split_once("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let rows = data["rows"].as_array().unwrap();
    let name = rows[0][5].as_u64().unwrap() as usize;
    assert_eq!(data["names"][name], printable(HOSTILE));
    assert!(page.matches("<details id=\"site-").count() < 1000);
}

#[test]
fn a_report_of_very_many_call_sites_makes_a_page_that_opens() {
    let mut report = with_profile("a");
    let site = report.call_sites[1].clone();
    report.call_sites.extend((0..100_000).map(|n| CallSite {
        function: format!("app::cache_{}::get", n % 5000),
        line: Some(n),
        file: Some("app/cache.rs".into()),
        stack: Vec::new(),
        ..site.clone()
    }));
    let page = html::render(&report);
    assert!(page.len() < 10_000_000, "{}", page.len());
}

#[test]
fn profiles_have_all_bytes_and_blocks() {
    let report = with_profile("serving::reload");
    let dhat = json(&report, Format::Dhat);
    let points = dhat["pps"].as_array().unwrap();
    let sum = |field: &str| {
        points
            .iter()
            .map(|p| p[field].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((sum("tb"), sum("tbk")), SUM);
    let mut stacks: Vec<String> = points.iter().map(|p| p["fs"].to_string()).collect();
    stacks.sort();
    stacks.dedup();
    assert_eq!(
        stacks.len(),
        points.len(),
        "DHAT's viewer rejects a stack that comes twice"
    );

    let folded = text(&report, Format::Collapsed);
    let weight = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(folded.lines().map(weight).sum::<u64>(), SUM.0);
    assert!(
        folded.starts_with("serving::main;serving::reload (app/"),
        "{folded}"
    );

    let speedscope = json(&report, Format::Speedscope);
    let profiles = speedscope["profiles"].as_array().unwrap();
    assert_eq!(profiles[0]["endValue"], SUM.0);
    assert_eq!(profiles[1]["endValue"], 1300, "what leaks");
    let frames = speedscope["shared"]["frames"].as_array().unwrap();
    let nulls = frames.iter().flat_map(|f| f.as_object().unwrap().values());
    assert!(!nulls.into_iter().any(serde_json::Value::is_null));
    assert_eq!(
        profiles[0]["samples"][0],
        serde_json::json!([1, 0]),
        "outermost first"
    );

    let jeprof = text(&report, Format::Jeprof);
    let counts = jeprof.lines().filter_map(|l| l.strip_prefix("  t*: "));
    let counts: Vec<(u64, u64)> = counts
        .map(|l| {
            let (blocks, rest) = l.split_once(": ").unwrap();
            let (bytes, _) = rest.split_once(' ').unwrap();
            (bytes.parse().unwrap(), blocks.parse().unwrap())
        })
        .collect();
    assert_eq!(counts[0], SUM, "the head");
    let sums = counts[1..]
        .iter()
        .fold((0, 0), |s, c| (s.0 + c.0, s.1 + c.1));
    assert_eq!(sums, SUM);
    // A caller is looked up at its return address less 1.
    assert!(jeprof.contains("0x1000 serving::reload app/"), "{jeprof}");
    assert!(jeprof.contains("\n0x1000 serving::main\n") || jeprof.contains("0x1001 serving::main"));

    let (bytes, blocks) = pprof::sums(&inflated(&report));
    assert_eq!((bytes, blocks), SUM);
}

#[test]
fn csv_reads_back_as_it_was() {
    let report = with_profile(HOSTILE);
    let bytes = render(&report, Format::CsvCallSites).unwrap();
    let mut table = ::csv::Reader::from_reader(&bytes[..]);
    let names = table.headers().unwrap().clone();
    let column = |name: &str| names.iter().position(|n| n == name).unwrap();
    let rows: Vec<::csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), report.call_sites.len());
    assert_eq!(rows[0][column("function")], printable(HOSTILE));
    assert_eq!(rows[0][column("bytes_per_cycle")], *"1048576");
    let bytes = render(&report, Format::CsvBoundaries).unwrap();
    let mut table = ::csv::Reader::from_reader(&bytes[..]);
    let names: Vec<String> = table.headers().unwrap().iter().map(str::to_owned).collect();
    let mut once = names.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), names.len(), "each column has a name of its own");
    assert_eq!(table.records().count(), report.boundaries.len());
}

#[test]
fn markdown_stays_below_its_limit_and_keeps_its_rows() {
    let mut report = with_profile(HOSTILE);
    let worst = report.call_sites[0].clone();
    report
        .call_sites
        .splice(0..0, std::iter::repeat_n(worst, 2000));
    let page = text(&report, Format::Markdown);
    assert!(page.chars().count() < 60_000, "{}", page.chars().count());
    assert!(page.contains("more: see report.json"), "{page}");
    let rows = page.lines().filter(|l| l.starts_with("| leak"));
    for row in rows {
        let bars = row.matches('|').count() - row.matches("\\|").count();
        assert_eq!(bars, 8, "{row}");
    }
    assert_eq!(
        page.matches("<details>").count(),
        page.matches("</details>").count()
    );
}

#[test]
fn a_result_is_at_its_line_and_allowed_growth_is_suppressed() {
    let mut report = with_profile("serving::reload");
    report.call_sites[0].allowed = Some("known".into());
    let sarif = json(&report, Format::Sarif);
    let result = &sarif["runs"][0]["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["region"]["startLine"], 42);
    assert_eq!(
        place["artifactLocation"]["uri"],
        "app/%EF%BF%BD%5B31ma%20b%3Bc.rs"
    );
    assert_eq!(place["region"]["snippet"]["text"], "serving::reload");
    assert_eq!(result["suppressions"][0]["justification"], "known");
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    let index = result["ruleIndex"].as_u64().unwrap() as usize;
    assert_eq!(rules[index]["id"], result["ruleId"]);
    // A cache is no result.
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 1);
}

#[test]
fn a_growing_call_site_is_a_failed_test_and_an_allowed_one_is_skipped() {
    let mut report = with_profile("serving::reload");
    let read = |report: &Report| {
        let xml = text(report, Format::Junit);
        quick_junit::Report::deserialize_from_str(&xml).unwrap()
    };
    let junit = read(&report);
    assert_eq!(
        (junit.tests, junit.failures),
        (2, 1),
        "the run's own test fails only for what no other shows"
    );
    report.call_sites[0].allowed = Some("known".into());
    report.verdict = RunVerdict::Clean;
    let junit = read(&report);
    assert_eq!((junit.tests, junit.failures), (2, 0));
    assert_eq!(junit.test_suites[0].skipped, 1);
}

#[test]
fn metrics_end_as_they_must() {
    let metrics = text(&with_profile(HOSTILE), Format::Openmetrics);
    assert!(metrics.ends_with("# EOF\n"));
    let verdicts = metrics
        .lines()
        .filter(|l| l.starts_with("afterdrop_verdict{"));
    let set: Vec<&str> = verdicts.filter(|l| l.ends_with(" 1.0")).collect();
    assert!(
        set.len() == 1 && set[0].contains("verdict=\"leak\""),
        "{set:?}"
    );
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == schema(),
        "out of date: run afterdrop schema >docs/report.schema.json"
    );
}

#[test]
fn a_report_of_an_older_version_is_read() {
    let mut old: serde_json::Value = serde_json::to_value(with_profile("a")).unwrap();
    let fields = old.as_object_mut().unwrap();
    for added in ["profile", "bins", "sampling", "roots", "holder_search"] {
        fields.remove(added);
    }
    for site in fields["call_sites"].as_array_mut().unwrap() {
        let site = site.as_object_mut().unwrap();
        for added in ["lives", "source"] {
            site.remove(added);
        }
    }
    let report: Report = serde_json::from_value(old).unwrap();
    for format in Format::ALL {
        render(&report, format).unwrap();
    }
}

#[test]
fn an_index_out_of_range_is_refused() {
    let path = std::env::temp_dir().join(format!("afterdrop-formats-{}.json", std::process::id()));
    let mut report = with_profile("a");
    report.profile.stacks[0].frames.push(99);
    std::fs::write(&path, report.to_json()).unwrap();
    let refused = Report::read(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(refused.contains("not in it"), "{refused}");
}

#[test]
fn the_page_says_the_verdict_without_script() {
    let page = text(&with_profile("serving::reload"), Format::Html);
    for part in [
        "1 call site leaks",
        "serving::reload",
        "app/main.rs:7",
        "born in cycle 2",
        "a note",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let verdicts = Verdict::ALL.map(|v| page.contains(&format!("class=\"site {v}\"")));
    assert_eq!(verdicts, [false, false, true, false, false, true]);
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it needs no network"
    );
}

#[test]
fn a_long_workload_is_shortened_in_headings() {
    let mut report = with_profile("app::load");
    report.workload = "python3 -c import model; ".repeat(40_000);
    let page = report.to_string();
    let head = page.lines().next().unwrap();
    assert!(head.chars().count() < 160, "{head}");
    assert!(head.contains("python3 -c import model;"), "{head}");
    assert!(page.len() < 20_000, "{} bytes", page.len());
    for format in [Format::Html, Format::Markdown, Format::Junit, Format::Flame] {
        let text = String::from_utf8(render(&report, format).unwrap()).unwrap();
        assert!(
            !text.contains(&"import model; python3 -c ".repeat(5)),
            "{}",
            format.name()
        );
    }
}

#[test]
fn a_program_that_was_killed_is_not_said_to_lack_cycles() {
    let mut report = example::report();
    report.exec = true;
    report.cycles = report.cycles_run();
    report.ended =
        crate::model::end::Ended::new(crate::model::end::How::Killed, "by SIGKILL".to_owned());
    let all = report.cycles_run();
    for text in [
        report.to_string(),
        String::from_utf8(render(&report, Format::Html).unwrap()).unwrap(),
        String::from_utf8(render(&report, Format::Markdown).unwrap()).unwrap(),
    ] {
        assert!(text.contains(&format!("after {all} cycles")), "{text}");
        assert!(!text.contains(&format!("{all} of {all} ")), "{text}");
    }
}
