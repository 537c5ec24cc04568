use super::*;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<NodeConfig, Vec<String>> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    NodeConfig::from_text(Path::new("etc/overread.toml"), text, environment)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    let shipped = load(include_str!("../../config/overread.toml"), &[]).unwrap();
    let mut empty = load("", &[]).unwrap();
    empty.peers.clone_from(&shipped.peers);
    empty.routes.clone_from(&shipped.routes);
    assert_eq!(format!("{shipped:?}"), format!("{empty:?}"));
    assert_eq!(shipped.peers[0].port, 4242);
    assert_eq!(shipped.node.data, Path::new("etc/data"));
}

#[test]
fn all_errors_come_at_once_with_file_line_and_key() {
    let text = "[node]\nae_title = \"MUCH TOO LONG A TITLE\"\nlisten = \"nowhere\"\nport = 104\n\n[[peer]]\nae_title = \"PACS\"\n\
                host = \"10.0.0.1\"\nport = 70000\n\n[[route]]\nmodel = \"x\"\nsend_to = [\"ELSEWHERE\"]\n\n[nodes]\n";
    let errors = load(text, &[]).unwrap_err();
    let starts = [
        "etc/overread.toml:2: node.ae_title: ",
        "etc/overread.toml:3: node.listen: ",
        "etc/overread.toml:4: node.port: is unknown",
        "etc/overread.toml:9: peer[0].port: should be a whole number from 1 to 65535, is 70000",
        "etc/overread.toml:13: route[0].send_to: no [[peer]] has the AE title ELSEWHERE",
        "etc/overread.toml:15: nodes: is unknown",
    ];
    for start in starts {
        assert!(errors.iter().any(|e| e.starts_with(start)), "{start} not in {errors:#?}");
    }
    assert_eq!(errors.len(), starts.len(), "{errors:#?}");
}

#[test]
fn a_peer_with_a_wrong_port_is_still_one_that_routes_may_name() {
    let text = "[[peer]]\nae_title = \"PACS\"\nhost = \"10.0.0.1\"\nport = 70000\n\n\
                [[route]]\nmodel = \"x\"\nsend_to = [\"PACS\"]\n";
    let errors = load(text, &[]).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("etc/overread.toml:4: peer[0].port: "), "{errors:?}");
}

#[test]
fn a_pacs_that_is_down_is_never_called_without_a_pause() {
    let errors = load("[delivery]\nretry_seconds = 0\nlongest_retry_seconds = 0\n", &[]).unwrap_err();
    let keys: Vec<bool> = errors.iter().map(|e| e.contains("_seconds: should be a whole number from 1 to")).collect();
    assert_eq!(keys, [true, true], "{errors:?}");
}

#[test]
fn the_environment_goes_first_and_is_named_in_errors() {
    let text = "[node]\nae_title = \"ONE\"\n[[peer]]\nae_title = \"PACS\"\nhost = \"a\"\nport = 1\n";
    let environment = [
        ("OVERREAD__NODE__AE_TITLE", "TWO"),
        ("OVERREAD__PEER__0__HOST", "10.0.0.5"),
        ("OVERREAD__NODE__LISTEN", "127.0.0.1:1,127.0.0.1:2"),
        ("OVERREAD__COMPLETENESS__QUIET_SECONDS", "3"),
        ("OVERREAD__NODE__ANY_PEER", "true"),
        ("OTHER", "x"),
    ];
    let config = load(text, &environment).unwrap();
    assert_eq!(config.node.ae_title.as_str(), "TWO");
    assert_eq!(config.peers[0].host, "10.0.0.5");
    assert_eq!(config.node.listen, ["127.0.0.1:1", "127.0.0.1:2"]);
    assert_eq!(config.completeness.quiet, Duration::from_secs(3));
    assert!(config.node.any_peer);

    let errors = load(text, &[("OVERREAD__NODE__RESERVE_MB", "lots")]).unwrap_err();
    assert_eq!(
        errors,
        [
            "environment variable OVERREAD__NODE__RESERVE_MB: node.reserve_mb: should be a whole number from 0 to 1073741824, is «lots»"
        ]
    );
}

#[test]
fn in_a_table_of_names_variables_go_first_however_the_file_writes_them() {
    let modalities = ["CT", "MR", "CR", "DX", "MG", "PT"];
    let file: Vec<String> = modalities.iter().map(|name| format!("{name} = 10")).collect();
    let text = format!("[completeness]\nquiet_by_modality = {{ {} }}\n", file.join(", "));
    let names = modalities.map(|name| format!("OVERREAD__COMPLETENESS__QUIET_BY_MODALITY__{name}"));
    let environment: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "5")).collect();
    let config = load(&text, &environment).unwrap();
    let quiet: Vec<(&str, u64)> =
        config.completeness.quiet_by_modality.iter().map(|(name, time)| (name.as_str(), time.as_secs())).collect();
    let lower = ["cr", "ct", "dx", "mg", "mr", "pt"].map(|name| (name, 5));
    let upper = ["CR", "CT", "DX", "MG", "MR", "PT"].map(|name| (name, 10));
    assert_eq!(quiet, [lower, upper].concat());
}

#[test]
fn whoever_is_asked_for_a_count_must_be_a_peer_also_where_there_is_none() {
    let wanted = "etc/overread.toml:2: completeness.ask_count: no [[peer]] has the AE title PACS";
    assert_eq!(load("[completeness]\nask_count = \"PACS\"\n", &[]).unwrap_err(), [wanted]);
    assert!(load("[completeness]\nask_count = \"sender\"\n", &[]).is_ok());
}

#[test]
fn what_is_not_toml_says_where_and_all_of_it() {
    let errors = load("[node]\nae_title = \n\n[jobs]\nattempts = = 3\nworkers 2\n", &[]).unwrap_err();
    for line in [2, 5, 6] {
        let place = format!("etc/overread.toml:{line}: not TOML: ");
        assert!(errors.iter().any(|error| error.starts_with(&place)), "{place} not in {errors:#?}");
    }
}

#[test]
fn routes_say_which_condition_fails() {
    let route = Route {
        model: "m".into(),
        send_to: vec![Destination::Sender],
        modality: vec!["CT".into()],
        calling_ae: vec![],
        series_description: vec!["*lung*".into(), "thor?x*".into()],
        quiet: None,
        on_release: None,
        late: None,
        required_series: vec![],
        required_patience: Duration::ZERO,
        preferred_patience: Duration::ZERO,
        series: SeriesChoice::Every,
        key: "route[0]".into(),
    };
    assert_eq!(route.matches("CT", "X", "Soft LUNG 1.0"), Ok(()));
    assert_eq!(route.matches("MR", "X", "lung").unwrap_err(), "modality «MR» is none of CT");
    assert!(route.matches("CT", "X", "abdomen").unwrap_err().starts_with("series_description «abdomen»"));
}

#[test]
fn a_timer_of_no_time_is_refused() {
    let errors = load("[association]\nidle_seconds = 0\n", &[]).unwrap_err();
    let wanted = "etc/overread.toml:2: association.idle_seconds: should be a whole number from 1 to 86400, is 0";
    assert_eq!(errors, [wanted]);
    assert!(load("[completeness]\nquiet_seconds = 0\n", &[]).is_ok());
}

#[test]
fn the_offset_of_dates_is_the_machines_or_a_given_one() {
    let offset = |text: &str| load(&format!("[results]\nutc_offset = \"{text}\""), &[]).map(|c| c.results.utc_offset);
    assert_eq!(offset("local").unwrap(), Zone::Local);
    for (text, minutes) in [("+02:00", 120), ("-03:30", -210)] {
        let Zone::Fixed(offset) = offset(text).unwrap() else { panic!("{text}") };
        assert_eq!(offset.whole_minutes(), minutes);
    }
    for wrong in ["", "2", "+2:00", "02:00", "+15:00", "+02:60", "Europe/Berlin", "+é2:00"] {
        let errors = offset(wrong).unwrap_err();
        assert!(errors[0].contains("results.utc_offset: "), "{errors:?}");
    }
}

#[test]
fn a_route_has_signals_of_its_own_and_else_those_of_all() {
    let peer = "[[peer]]\nae_title = \"PACS\"\nhost = \"a\"\nport = 1\n";
    let route = "[[route]]\nmodel = \"m\"\nsend_to = [\"PACS\"]\n";
    let all = "[completeness]\nquiet_seconds = 20\nquiet_by_modality = { CT = 10 }\nlate = \"hold\"\n";
    let own = "quiet_seconds = 3\non_release = true\nlate = \"ignore\"\n";
    let config = load(&format!("{all}{peer}{route}{route}{own}"), &[]).unwrap();
    let of = |index: usize| config.completeness.of_route(&config.routes[index]);
    assert_eq!(of(0), config.completeness);
    let quick = of(1);
    assert_eq!((quick.quiet, quick.on_release, quick.late), (Duration::from_secs(3), true, Late::Ignore));
    assert_eq!(quick.quiet_by_modality, [], "the route's own time goes before every other");
    let errors = load(&format!("{peer}{route}late = \"never\"\nquiet_seconds = -1\n"), &[]).unwrap_err();
    assert!(
        errors[0].starts_with("etc/overread.toml:9: route[0].quiet_seconds: should be a whole number"),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("etc/overread.toml:8: route[0].late: should be ignore, rerun or hold"), "{errors:?}");
}

#[test]
fn a_route_says_which_series_it_requires_and_whether_it_reads_every_one() {
    let route =
        "[[peer]]\nae_title = \"PACS\"\nhost = \"a\"\nport = 1\n[[route]]\nmodel = \"m\"\nsend_to = [\"PACS\"]\n";
    let read = |more: &str| load(&format!("{route}{more}"), &[]).map(|config| config.routes[0].clone());
    let silent = read("").unwrap();
    assert_eq!((silent.required_series.len(), silent.required_patience), (0, Duration::from_secs(1800)));
    assert_eq!(silent.series, SeriesChoice::Every);
    let patient = read("required_series = [\"*scout*\", \"*dose*\"]\nrequired_patience_seconds = 60\n").unwrap();
    assert_eq!(patient.required_series, ["*scout*", "*dose*"]);
    assert_eq!(patient.required_patience, Duration::from_secs(60));
    assert_eq!(read("series = \"preferred\"\n").unwrap().series, SeriesChoice::Preferred);
    for (more, says) in [
        ("series = \"best\"", "route[0].series: should be every or preferred, is «best»"),
        ("required_series = [7]", "route[0].required_series: should be a list of texts"),
        ("required_series = 7\nrequired_patience_seconds = 9", "route[0].required_series: should be a list of texts"),
        (
            "required_series = [\"a\"]\nrequired_patience_seconds = -1",
            "route[0].required_patience_seconds: should be a whole number from 0 to 86400",
        ),
        (
            "preferred_patience_seconds = 60",
            "route[0].preferred_patience_seconds: has no meaning without series = \"preferred\"",
        ),
        (
            "required_patience_seconds = 60",
            "route[0].required_patience_seconds: has no meaning without required_series",
        ),
    ] {
        let errors = read(more).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(says), "{more}: {errors:?}");
    }
}
