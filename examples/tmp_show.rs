#![allow(warnings)]
#[path = "../fuzz/src/choices.rs"] mod choices;
#[path = "../fuzz/src/watch.rs"] mod watch;
#[path = "../fuzz/src/pairs.rs"] mod pairs;
fn main() {
    let bytes = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let frames = pairs::frames_of(&bytes);
    let mut d = podtap::packet::Decoder::new(Default::default());
    let t0 = frames[0].at;
    for f in &frames {
        if let Some(s) = d.decode(&f.as_frame()) {
            let text = String::from_utf8_lossy(&s.payload[..s.payload.len().min(40)]).replace("\r\n", "|");
            println!("{:>9} {} {:?} seq {} ack {} len {}/{} {text}", f.at.since(t0)/1000, if s.tuple.source.port==80 {"S>C"} else {"C>S"}, s.flags, s.seq, s.ack, s.payload.len(), s.payload_len);
        }
    }
    let mut dis = podtap::dissect::Dissector::new(Default::default(), podtap::redact::Redactor::off());
    for f in &frames { dis.handle_frame(&f.as_frame(), |_| false); }
    dis.finish(podtap::tcp::CloseReason::EndOfCapture);
    for podtap::record::Record::Http(e) in dis.records().drain(..) {
        println!("{} {:?} {:?} {} {:?} {:?}", e.id, e.request.as_ref().map(|r| format!("{} {}", r.method, r.target)), e.response.as_ref().map(|r| r.phrase.clone()), e.trust.name(), e.unanswered, e.weird.iter().map(|w| w.name()).collect::<Vec<_>>());
    }
}
