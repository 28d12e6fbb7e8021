//! Command lines, and what they are understood as.

use super::*;

fn parsed(line: &str) -> Result<Invocation, clap::Error> {
    parse(line.split(' ').map(OsString::from))
}

fn command(line: &str) -> Command {
    parsed(line).unwrap().command
}

#[test]
fn the_grammar_is_sound() {
    grammar().debug_assert();
}

#[test]
fn every_command_is_understood_and_none_means_run() {
    let file = |path: &str| CaptureInput::File(PathBuf::from(path));
    assert_eq!(command("podtap"), Command::Run);
    assert_eq!(command("podtap run"), Command::Run);
    assert_eq!(command("podtap --format text"), Command::Run);
    assert_eq!(
        command("podtap replay a.pcap - b"),
        Command::Replay(vec![file("a.pcap"), CaptureInput::Stdin, file("b")])
    );
    let view = |inputs: Vec<CaptureInput>, follow| Command::View(ViewRequest { inputs, follow });
    assert_eq!(command("podtap view"), view(vec![CaptureInput::Stdin], false));
    assert_eq!(command("podtap view a.json - -f --only slow"), view(vec![file("a.json"), CaptureInput::Stdin], true));
    assert_eq!(command("podtap check"), Command::Check { deep: false });
    assert_eq!(command("podtap check --deep"), Command::Check { deep: true });
    let listing = |names: &[&str], changed| {
        let names = names.iter().map(ToString::to_string).collect();
        Command::Settings(SettingsListing::Current(WantedSettings { names, changed }))
    };
    assert_eq!(command("podtap settings"), listing(&[], false));
    assert_eq!(command("podtap settings IFACE tags --changed"), listing(&["IFACE", "tags"], true));
    assert_eq!(command("podtap settings --markdown"), Command::Settings(SettingsListing::Markdown));
    assert_eq!(command("podtap demo"), Command::Demo);
    assert_eq!(command("podtap status"), Command::Status(StatusRequest { watch: false, json: false }));
    assert_eq!(command("podtap status --watch --json"), Command::Status(StatusRequest { watch: true, json: true }));
    let conntrack = parsed("podtap conntrack --record http").unwrap();
    let pairs = |pairs: &[(&str, &str)]| -> SettingPairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!((conntrack.command, conntrack.flags), (Command::Run, pairs(&[("RECORD", "conntrack")])));
    let netlog = parsed("podtap flows --interface eth0 --json --metrics-addr :9090").unwrap();
    let expected = [("RECORD", "flows"), ("IFACE", "eth0"), ("FORMAT", "netlog-json"), ("METRICS_ADDR", ":9090")];
    assert_eq!((netlog.command, netlog.flags), (Command::Run, pairs(&expected)));
    let netlog = parsed("podtap flows -i eth0 --format json -m :9090").unwrap();
    assert_eq!(netlog.flags, pairs(&expected));
    let netlog = parsed("podtap flows -i eth1 -f text -m :9191 --format ecs").unwrap();
    let expected = [("RECORD", "flows"), ("IFACE", "eth1"), ("FORMAT", "ecs"), ("METRICS_ADDR", ":9191")];
    assert_eq!(netlog.flags, pairs(&expected));
    let netlog = parsed("podtap flows --json --redis-addr r:6380 --redis-password p --redis-db 3").unwrap();
    let expected = [
        ("RECORD", "flows"),
        ("FORMAT", "netlog-json"),
        ("REDIS_HOST", "r:6380"),
        ("REDIS_PASSWORD", "p"),
        ("REDIS_DB", "3"),
        ("WORKLOADS", "redis"),
    ];
    assert_eq!(netlog.flags, pairs(&expected));
    let netlog = parsed("podtap flows --redis-addr r --workloads redis,dns").unwrap();
    assert_eq!(netlog.flags, pairs(&[("RECORD", "flows"), ("REDIS_HOST", "r"), ("WORKLOADS", "redis,dns")]));
    let live = parsed("podtap verdicts --verdict-groups 5").unwrap();
    assert_eq!(live.flags, pairs(&[("RECORD", "verdicts"), ("VERDICT_GROUPS", "5")]));
    let file = parsed("podtap verdicts kern.log").unwrap();
    let whole = [("RECORD", "verdicts"), ("VERDICT_FILE", "kern.log"), ("VERDICT_FOLLOW", "false")];
    assert_eq!((file.command, file.flags), (Command::Run, pairs(&whole)));
}

#[test]
#[cfg(feature = "inject")]
fn a_manifest_may_be_named_with_or_without_f() {
    for name in ["inject", "uninject"] {
        for (rest, files) in [("app.yaml", 1), ("-f app.yaml", 1), ("-f a.yaml b.yaml -i -f c.yaml", 3), ("-", 1)] {
            let Command::Inject(request) = command(&format!("podtap {name} {rest}")) else { panic!("{rest}") };
            assert_eq!(request.inputs.len(), files, "{rest}");
        }
        let missing = parsed(&format!("podtap {name}")).unwrap_err().to_string();
        assert!(missing.contains("FILE"), "{missing}");
    }
}

#[test]
fn a_flag_comes_before_or_after_the_command_and_the_last_one_counts() {
    for (line, format) in [
        ("podtap --format text replay x", "text"),
        ("podtap replay x --format text", "text"),
        ("podtap replay --format=text x", "text"),
        ("podtap --format ecs --format text check", "text"),
        ("podtap --format ecs check --format text", "text"),
    ] {
        let flags = parsed(line).unwrap().flags;
        assert_eq!(flags, SettingPairs::from([("FORMAT".to_owned(), format.to_owned())]), "{line}");
    }
}

#[test]
fn every_setting_is_a_flag() {
    for variable in VARIABLES {
        let flags = parsed(&format!("podtap --{}=-1,x", variable.flag())).unwrap().flags;
        assert_eq!(flags, SettingPairs::from([(variable.name.to_owned(), "-1,x".to_owned())]));
    }
}

#[test]
fn a_value_that_begins_with_a_dash_may_stand_apart_where_it_means_something() {
    for (line, name, value) in [
        ("podtap --redact-headers -authorization check", "REDACT_HEADERS", "-authorization"),
        ("podtap replay x --redact-query -token,+pin", "REDACT_QUERY", "-token,+pin"),
        ("podtap --timeout-after-ms -5 check", "TIMEOUT_AFTER_MS", "-5"),
    ] {
        let flags = parsed(line).unwrap().flags;
        assert_eq!(flags, SettingPairs::from([(name.to_owned(), value.to_owned())]), "{line}");
    }
    assert!(parsed("podtap --format --iface lo").is_err());
}

#[test]
fn what_cannot_be_printed_is_said_and_a_reader_that_left_is_no_error() {
    struct Broken(std::io::ErrorKind);
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let full = said(&mut Broken(std::io::ErrorKind::StorageFull), "x").unwrap_err();
    assert!(full.starts_with("standard output: "), "{full}");
    assert_eq!(said(&mut Broken(std::io::ErrorKind::BrokenPipe), "x"), Ok(()));
}

#[test]
fn a_wrong_command_line_says_what_may_have_been_meant() {
    assert!(parsed("podtap --fromat text").unwrap_err().to_string().contains("--format"));
    assert!(parsed("podtap chek").unwrap_err().to_string().contains("check"));
    assert!(parsed("podtap replay").unwrap_err().to_string().contains("<FILE>"));
}

#[test]
fn a_command_that_the_build_leaves_out_names_its_feature_whatever_follows() {
    for (name, feature) in LEFT_OUT {
        for line in [format!("podtap {name}"), format!("podtap {name} kibana --print -f x.yaml --help")] {
            assert_eq!(command(&line), Command::LeftOut(feature), "{line}");
        }
    }
    let help = grammar().render_help().to_string();
    for (name, feature) in [("setup", "setup"), ("inject", "inject"), ("webhook", "webhook"), ("top", "top")] {
        let listed = help.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
        assert_eq!(listed, !LEFT_OUT.contains(&(name, feature)), "{name} in {help}");
    }
}

#[test]
fn help_and_version_are_there_for_every_command() {
    let installing: [&[&str]; 3] = [
        if cfg!(feature = "setup") { &[" setup", " setup elasticsearch", " setup kibana", " setup all"] } else { &[] },
        if cfg!(feature = "inject") { &[" inject", " uninject"] } else { &[] },
        if cfg!(feature = "webhook") { &[" webhook"] } else { &[] },
    ];
    let always = ["", " run", " replay", " view", " status", " check", " settings", " demo"];
    for name in always.iter().chain(installing.into_iter().flatten()) {
        for flag in ["-h", "--help"] {
            let short = parsed(&format!("podtap{name} {flag}")).unwrap_err();
            assert_eq!(short.exit_code(), 0);
            let lines = short.to_string().lines().count();
            assert!(lines <= 45, "{name}: {lines} lines");
        }
        let help = parsed(&format!("podtap help{}", if name.is_empty() { " run" } else { name })).unwrap_err();
        assert_eq!(help.exit_code(), 0);
        let width = help.to_string().lines().map(|line| line.chars().count()).max();
        assert!(width <= Some(WIDTH), "{width:?}");
        for variable in VARIABLES {
            assert!(help.to_string().contains(&format!("--{} ", variable.flag())), "{name} {}", variable.name);
        }
        let version = parsed(&format!("podtap{name} --version")).unwrap_err().to_string();
        assert!(version.ends_with(&format!(" {}\n", env!("CARGO_PKG_VERSION"))), "{version}");
    }
    let short = parsed("podtap -h").unwrap_err().to_string();
    assert!(short.lines().count() <= 32 && short.contains("podtap settings"), "{short}");
}
