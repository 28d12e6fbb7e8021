//! Texts of the network and of files: what one piece of them, repeated, costs.

use podtap::dns::{DnsStream, parse};
#[cfg(feature = "inject")]
use podtap::inject::{SidecarOptions, inject, uninject};
use podtap::redact::{NameList, Redactor};
use podtap::settings::Settings;
use podtap::shape::route::RouteRules;
use podtap::shape::target::RequestUrl;
use podtap::source::file::CaptureReader;

use super::{Case, sample};
use crate::fuzz_corpus::targets::TARGETS;

/// Bytes of the smallest size.
const BYTES: usize = 4096;

/// What an attacker would repeat.
pub(super) const PIECES: &[&str] = &[
    "@",
    "a@",
    ":@",
    "a:b@",
    "://",
    "://a",
    "://a:b",
    "://a:b@",
    "http://h/reset/x",
    "http://h/reset/x?",
    "//",
    "/",
    "/reset/",
    "/a/b",
    "/..",
    "%",
    "%25",
    "%41",
    "%2525",
    "%3D",
    "a%3Db&",
    "=",
    "a=",
    "a=b&",
    "token=",
    "token=b;",
    "&",
    "&&",
    ";",
    ";a=b",
    "?",
    "?token=",
    "#",
    " ",
    "  a",
    "r ",
    "Bearer ",
    "Bearer abcdefghijklmnopqrstuv ",
    "basic ",
    "\"",
    "=\"",
    "token=\"",
    "<",
    "<a ",
    ",",
    ", ",
    "a,",
    ".",
    "[",
    "]",
    "a[b]",
    "{",
    "{\"a\":",
    "\\",
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\t",
    "\0",
    "a",
    "A",
    "0",
    "abcdefgh",
    "-",
    "--",
    "_",
    "for=1.2.3.4,",
    "1.2.3.4, ",
    ":",
    ": ",
    "::",
    "a:",
    "'",
    "*",
    "+",
    "~",
    "(",
    "eyJ",
    "eyJhbGciOi.",
    "AKIA",
    "xoxb-",
    "key",
    "key ",
    "pass",
    "passpass:",
    "secret=%",
    "-----BEGIN ",
];

fn repeated(piece: &str, bytes: usize) -> Vec<u8> {
    piece.bytes().cycle().take(bytes).collect()
}

type Mask = fn(&Redactor, &[u8]);

fn redactor() -> Redactor {
    let paths = ["/reset/*", "/a/*/b", "/*/x"].map(str::to_owned);
    Redactor::new(NameList::default(), NameList::default(), &paths).unwrap()
}

pub(super) fn cases() -> Vec<Case> {
    let masked = PIECES.iter().flat_map(|piece| {
        let ways: [(&str, Mask); 4] = [
            ("target", |redactor, text| drop(redactor.target(text))),
            ("value", |redactor, text| drop(redactor.header_value(b"x-any", text))),
            ("location", |redactor, text| drop(redactor.header_value(b"location", text))),
            ("host", |redactor, text| drop(redactor.text(text))),
        ];
        ways.map(|(way, mask)| {
            Case::new(format!("mask {way} {piece:?}"), move |size| {
                let (redactor, text) = (redactor(), repeated(piece, size * BYTES));
                move || mask(&redactor, &text)
            })
        })
    });
    let shaped = PIECES.iter().map(|piece| {
        Case::new(format!("route and URL {piece:?}"), move |size| {
            let text = format!("/{}", String::from_utf8(repeated(piece, size * BYTES)).unwrap());
            move || {
                RouteRules::default().of(&text);
                let _ = (RequestUrl::parse("GET", &text, Some(&text)), RequestUrl::parse("CONNECT", &text, None));
            }
        })
    });
    let targets = TARGETS.iter().filter(|(name, _)| ["bulk_answer", "forward_reply", "lumberjack_acks"].contains(name));
    let answers = targets.flat_map(|(name, target)| {
        ["[", "{\"a\":", "\x01", "a", "2A", "\0\0", "{\"items\":[", "[1,"].map(|piece| {
            Case::new(format!("{name} {piece:?}"), move |size| {
                let text = repeated(piece, size * BYTES);
                move || target(&text)
            })
        })
    });
    let cases =
        sample(masked.chain(shaped), 2).into_iter().chain(answers).chain(settings()).chain(files()).chain(dns());
    #[cfg(feature = "inject")]
    let cases = cases.chain(manifests());
    cases.collect()
}

/// Answers of DNS: many of them, and one that is as long as it may be.
fn dns() -> Vec<Case> {
    /// Whose address is asked for, in a message with any number of answers.
    fn head(answers: usize) -> Vec<u8> {
        let [high, low] = (answers as u16).to_be_bytes();
        let head = [0x12, 0x34, 0x81, 0x80, 0, 1, high, low, 0, 0, 0, 0];
        [&head[..], b"\x04shop\x04test\0\0\x01\0\x01"].concat()
    }
    const ADDRESS: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01";
    const ALIAS: &[u8] = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c";
    let messages = Case::new("DNS: answers over TCP", |size| {
        let message = [head(1).as_slice(), ADDRESS].concat();
        let length = (message.len() as u16).to_be_bytes();
        let bytes = [&length[..], &message].concat().repeat(size * 500);
        move || DnsStream::default().take(&bytes, |message| drop(parse(message)))
    });
    let one = [("addresses", ADDRESS), ("aliases of itself", ALIAS)].map(|(name, record)| {
        Case::new(format!("DNS: one answer of {name}"), move |size| {
            let message = [head(65_535), record.repeat(size * 1000)].concat();
            move || (0..50).for_each(|_| drop(parse(&message)))
        })
    });
    std::iter::once(messages).chain(one).collect()
}

fn settings() -> Vec<Case> {
    let names =
        ["REDACT_QUERY", "REDACT_HEADERS", "IGNORE_URLS", "TRUSTED_PROXIES", "HEADERS", "ROUTES", "OWN_IPS", "MODE"];
    let pieces = ["a,", "-a,", "*,", ",", "1.2.3.4,", "http://u:p@h,", "1.2.3.0/24,", "none,"];
    let lists = names.into_iter().flat_map(|name| {
        pieces.map(|piece| {
            Case::new(format!("setting {name} {piece:?}"), move |size| {
                // More than what all settings cost, which differs from run to run by the keys of hash maps.
                let value = String::from_utf8(repeated(piece, size * 2 * BYTES)).unwrap();
                move || {
                    let pair = (name.to_owned(), value.clone());
                    let _ = Settings::from_pairs([pair], [], |_| Err(String::new()));
                }
            })
        })
    });
    let unknown = Case::new("settings with unknown names", |size| {
        let pairs: Vec<_> = (0..size * 64).map(|n| (format!("REDACT_HEADER{n}"), "x".to_owned())).collect();
        move || drop(Settings::from_pairs(pairs.clone(), [], |_| Err(String::new())))
    });
    lists.chain([unknown]).collect()
}

/// Both ways, of a text that is made of this many parts.
#[cfg(feature = "inject")]
fn edited(name: &str, text: impl Fn(usize) -> String + 'static) -> Case {
    Case::new(name, move |size| {
        let text = text(size);
        move || {
            let options = SidecarOptions::default();
            let injected = inject(&text, &options).map_or_else(|_| text.clone(), |report| report.text);
            let _ = (uninject(&injected), uninject(&text));
        }
    })
}

#[cfg(feature = "inject")]
fn manifests() -> Vec<Case> {
    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: app\n";
    let block = |count: usize, spec: &str| {
        let item = format!("- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n  spec:\n{spec}");
        format!("apiVersion: v1\nkind: List\nitems:\n{}", item.repeat(count))
    };
    const JSON: &str =
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"app"}]}}"#;
    vec![
        edited("a list of pods", move |size| block(8 * size, "    containers:\n    - name: app\n")),
        edited("a list of pods that cannot be edited", move |size| {
            block(8 * size, "    containers:\n    - name: app\n    volumes: &v\n    initContainers: *v\n")
        }),
        edited("a list of pods, some of which cannot be edited", move |size| {
            let pods = [
                "    containers:\n    - name: app\n",
                "    containers: !!seq\n    -\n      name: app\n    volumes: ! []\n",
            ];
            let items: String = pods
                .iter()
                .cycle()
                .take(8 * size)
                .map(|spec| block(1, spec).split_once("items:\n").unwrap().1.to_owned())
                .collect();
            format!("apiVersion: v1\nkind: List\nitems:\n{items}")
        }),
        edited("a list in one line", |size| {
            format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, vec![JSON; 8 * size].join(","))
        }),
        edited("documents", |size| format!("---\n{POD}").repeat(8 * size)),
        edited("documents with directives and ends", |size| format!("%YAML 1.2\n---\n{POD}...\n").repeat(8 * size)),
        edited("empty documents", |size| "---\n".repeat(256 * size)),
        edited("pods that share an anchor", move |size| {
            let shared = format!("apiVersion: v1\nkind: List\nx: &x [{}]\nitems:\n", "1,".repeat(500 * size));
            shared + &"- {apiVersion: v1, kind: Pod, spec: {containers: [{name: a}], x: 1}}\n".repeat(8 * size)
        }),
        edited("annotations that are no settings", |size| {
            let own: String = (0..256 * size).map(|n| format!("    podtap.io/no-setting-{n}: x\n")).collect();
            POD.replace("metadata: {name: a}\n", &format!("metadata:\n  annotations:\n{own}"))
        }),
        edited("a long annotation", |size| {
            let own = format!("  annotations: {{podtap.io/{}: x}}\n", "_PORT_1_TCP".repeat(512 * size));
            POD.replace("metadata: {name: a}\n", &format!("metadata:\n{own}"))
        }),
        edited("containers", |size| format!("{POD}{}", "  - name: other\n".repeat(128 * size))),
        edited("comments", |size| {
            POD.replace("  containers", &format!("{}  containers", "  # c\n".repeat(500 * size)))
        }),
        edited("empty lines", |size| POD.replace("  - name", &format!("{}  - name", "\n".repeat(1000 * size)))),
        edited("one long line", |size| POD.replace("app", &"a".repeat(4096 * size))),
        edited("keys", |size| POD.to_owned() + &(0..256 * size).map(|n| format!("  k{n}: v\n")).collect::<String>()),
        edited("merge keys", |size| format!("x: &x {{a: 1}}\n{POD}{}", "  <<: *x\n".repeat(64 * size))),
        edited("brackets", |size| "[".repeat(200 * size)),
    ]
}

/// Read to the end, or to what is wrong in it.
fn file(name: &str, bytes: impl Fn(usize) -> Vec<u8> + 'static) -> Case {
    Case::new(format!("file of {name}"), move |size| {
        let bytes = bytes(size);
        move || {
            let Ok(mut reader) = CaptureReader::open(&bytes[..]) else { return };
            while let Ok(Some(_)) = reader.next_frame() {}
        }
    })
}

/// A pcapng block.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, &body, &len].concat()
}

fn files() -> Vec<Case> {
    let section = || block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let interface = || block(1, &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0]);
    let packet = || block(6, &[&[0; 12][..], &[60, 0, 0, 0, 60, 0, 0, 0], &[0; 60]].concat());
    vec![
        file("sections", move |size| section().repeat(500 * size)),
        file("interfaces", move |size| [section(), interface().repeat(500 * size)].concat()),
        file("interface options", move |size| {
            let options = [2, 0, 4, 0, b'e', b't', b'h', b'0'].repeat(500 * size);
            [section(), block(1, &[&[1, 0, 0, 0, 0, 0, 0, 0][..], &options].concat())].concat()
        }),
        file("unknown blocks", move |size| [section(), block(77, &[0; 4]).repeat(1000 * size)].concat()),
        file("packets", move |size| [section(), interface(), packet().repeat(500 * size)].concat()),
        file("packets of 1500 sections", move |size| [section(), interface(), packet()].concat().repeat(300 * size)),
        file("one long block", move |size| [section(), block(77, &vec![0; 100_000 * size])].concat()),
    ]
}
