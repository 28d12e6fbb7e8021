//! `podtap report`: its numbers next to those of a replay, and the page in a real browser. That is light and dark, on a desk
//! and on a phone.

use std::path::Path;
use std::process::Command;

use podtap::demo::rendered;
use podtap::flow::Timestamp;
use podtap::synth::{Conversation, message, pcap};
use serde_json::Value;

use crate::binary::{replay, run};
use crate::servers::{Scratch, missing};

const NOON: Timestamp = Timestamp(1_772_366_400_000_000_000);

/// Appended to a copy of the page: what a browser made of it, as JSON in its title.
const PROBE: &str = "<script>document.title=JSON.stringify({wide:document.documentElement.scrollWidth,\
    view:document.documentElement.clientWidth,paper:getComputedStyle(document.body).backgroundColor,\
    pictures:[...document.querySelectorAll('svg')].filter(it=>it.getBoundingClientRect().height>0).length,\
    scripts:document.scripts.length,images:document.images.length})</script>";
const POLICY: &str =
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">";

fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success()))
}

/// What the browser says of the page in a window of this width.
fn probed(browser: &str, scratch: &Scratch, page: &Path, width: u32, dark: bool) -> Value {
    let scheme = if dark { 0 } else { 1 };
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        .arg(format!("--window-size={width},900"))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--user-data-dir={}", scratch.path(&format!("profile-{width}-{dark}")).display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    let title = title.unwrap_or_else(|| panic!("no page: {}", String::from_utf8_lossy(&output.stderr))).0;
    serde_json::from_str(title).unwrap_or_else(|error| panic!("{error}: {title}"))
}

#[test]
fn its_numbers_are_those_of_the_records() {
    let page = run(&["report", "-", "--own-ips", "10.1.0.20"], &[], &pcap(&rendered(NOON)));
    assert_eq!(page.code, Some(0), "{}", page.stderr);
    let records = replay(&pcap(&rendered(NOON)), &[("OWN_IPS", "10.1.0.20")]);
    let records: Vec<Value> = records.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |test: &dyn Fn(&Value) -> bool| records.iter().filter(|record| test(record)).count();
    let failed = count(&|record| record["event"]["outcome"] == "failure");
    let unanswered = count(&|record| record["podtap"]["unanswered"].is_string());
    for (number, name) in [(records.len(), "exchanges"), (failed, "failed"), (unanswered, "unanswered")] {
        let shown = page.stdout.split("<div>").find(|card| card.contains(&format!("</b>{name}</div>"))).unwrap();
        assert!(shown.contains(&format!(">{number}<")), "{number} {name}: {shown}");
    }
    let products = count(&|record| record["http"]["route"] == "/api/v1/products/{id}");
    let row = page.stdout.lines().find(|line| line.contains("GET /api/v1/products/{id}</td>")).unwrap();
    assert!(row.contains(&format!("<td>{products}</td>")), "{row}");
    assert!(page.stdout.contains("Nothing lost; the ledger adds up."));
}

#[test]
fn what_is_lost_is_said_on_the_page() {
    let conversation = Conversation::default().handshake();
    let conversation = conversation.client(message::request("GET", "/", &[("Host", "shop")], b""));
    let mut capture = pcap(&conversation.close().frames());
    capture.truncate(capture.len() - 7);
    let page = run(&["report", "-"], &[], &capture);
    assert_eq!(page.code, Some(1));
    assert!(page.stdout.contains("What was lost") && page.stdout.contains("standard input: "), "{}", page.stderr);
}

#[test]
fn where_nothing_can_be_read_there_is_no_page() {
    for (arguments, input) in
        [(&["report", "/no/such.pcap"][..], &b""[..]), (&["report", "-"], b""), (&["report", "-"], b"junk")]
    {
        let ran = run(arguments, &[], input);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("podtap: "), "{}", ran.stderr);
    }
}

#[test]
fn a_browser_shows_it_on_every_screen_and_nothing_in_it_runs_or_is_loaded() {
    let Some(browser) = browser() else { return missing("the page needs Chromium: scripts/setup pages") };
    let evil = "/x?\"><script>document.body.innerHTML=''</script><img src=/a onerror=alert(1)>";
    let conversation = Conversation::default().handshake();
    let request = message::request("GET", evil, &[("Host", "\"><img src=x>")], b"");
    let frames = conversation.client(request).server(message::response("500 No", &[], b"")).close().frames();
    let (scratch, mut all) = (Scratch::new("report"), rendered(NOON));
    all.extend(frames);
    let page = run(&["report", "-"], &[], &pcap(&all));
    assert_eq!(page.code, Some(0), "{}", page.stderr);
    let (before, after) = page.stdout.split_once(POLICY).expect("the policy that forbids scripts");
    let path = scratch.path("page.html");
    std::fs::write(&path, format!("{before}{}", after.replace("</body>", &format!("{PROBE}</body>")))).unwrap();
    for (width, dark) in [(1200, false), (1200, true), (390, false), (390, true)] {
        let seen = probed(browser, &scratch, &path, width, dark);
        let at = format!("{width} {dark}: {seen}");
        assert!(seen["wide"].as_u64() <= seen["view"].as_u64(), "it scrolls sideways: {at}");
        assert_eq!(seen["paper"], if dark { "rgb(13, 17, 23)" } else { "rgb(255, 255, 255)" }, "{at}");
        assert_eq!((&seen["scripts"], &seen["images"]), (&1.into(), &0.into()), "{at}");
        assert!(seen["pictures"].as_u64() > Some(20), "{at}");
    }
}
