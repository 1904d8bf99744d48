//! Precedence and defaults, as tables.

use super::*;
use crate::{config::RegistriesConfig, environment::BaseDirectories};

const NOTHING: &dyn Fn(&Utf8Path) -> bool = &|_| false;

fn environment() -> Environment {
    Environment {
        base: Some(BaseDirectories {
            config: "/home/u/.config".into(),
            state: "/home/u/.local/state".into(),
            cache: "/home/u/.cache".into(),
        }),
        working_directory: "/here".into(),
        executable: "/opt/bin/banger".into(),
        user_id: 1000,
        ..Environment::default()
    }
}

fn resolved(flags: &GlobalArgs, environment: &Environment, config: &Config) -> Settings {
    resolve(flags, environment, config, NOTHING).unwrap()
}

#[test]
fn defaults_follow_the_base_directories() {
    let settings = resolved(&GlobalArgs::default(), &environment(), &Config::default());
    let expected = Directories {
        state: "/home/u/.local/state/banger".into(),
        cache: "/home/u/.cache/banger".into(),
        runtime: "/tmp/banger-1000".into(),
    };
    assert_eq!(settings.directories, expected);
    assert_eq!((settings.qemu, settings.firecracker), (None, None));
    let with_session = Environment {
        xdg_runtime: Some("/run/user/1000".into()),
        ..environment()
    };
    let settings = resolved(&GlobalArgs::default(), &with_session, &Config::default());
    assert_eq!(settings.directories.runtime, "/run/user/1000/banger");
}

#[test]
fn a_flag_beats_a_variable_beats_the_configuration() {
    type Place = Option<Utf8PathBuf>;
    let some = |path: &str| -> Place { Some(path.into()) };
    let cases: [(Place, Place, Place, &str); 5] = [
        (some("/flag"), some("/variable"), some("/config"), "/flag"),
        (None, some("/variable"), some("/config"), "/variable"),
        (None, None, some("/config"), "/config"),
        (some("relative"), some("/variable"), None, "/here/relative"),
        (None, some("../up"), None, "/here/../up"),
    ];
    for (flag, variable, configured, expected) in cases {
        let flags = GlobalArgs {
            state_dir: flag.clone(),
            cache_dir: flag.clone(),
            runtime_dir: flag.clone(),
            guest_program: flag.clone(),
            qemu: flag.clone(),
            firecracker: flag,
            ..GlobalArgs::default()
        };
        let environment = Environment {
            state_dir: variable.clone(),
            cache_dir: variable.clone(),
            runtime_dir: variable.clone(),
            guest_program: variable.clone(),
            qemu: variable.clone(),
            firecracker: variable,
            ..environment()
        };
        let config = Config {
            state_dir: configured.clone(),
            cache_dir: configured.clone(),
            runtime_dir: configured.clone(),
            guest_program: configured.clone(),
            qemu: configured.clone(),
            firecracker: configured,
            ..Config::default()
        };
        let settings = resolved(&flags, &environment, &config);
        let expected = Utf8PathBuf::from(expected);
        assert_eq!(settings.directories.state, expected);
        assert_eq!(settings.directories.cache, expected);
        assert_eq!(settings.directories.runtime, expected);
        assert_eq!(
            settings.guest_program,
            GuestProgram::Found(expected.clone())
        );
        assert_eq!(settings.qemu.as_ref(), Some(&expected));
        assert_eq!(settings.firecracker, Some(expected));
    }
}

#[test]
fn without_a_home_the_missing_flag_is_named() {
    let homeless = Environment {
        base: None,
        ..environment()
    };
    let mut flags = GlobalArgs::default();
    let error = resolve(&flags, &homeless, &Config::default(), NOTHING).unwrap_err();
    assert_eq!(
        error,
        SettingsError::NoHome {
            flag: "--state-dir"
        }
    );
    flags.state_dir = Some("/s".into());
    let error = resolve(&flags, &homeless, &Config::default(), NOTHING).unwrap_err();
    assert_eq!(
        error,
        SettingsError::NoHome {
            flag: "--cache-dir"
        }
    );
    flags.cache_dir = Some("/c".into());
    assert_eq!(
        resolved(&flags, &homeless, &Config::default())
            .directories
            .runtime,
        "/tmp/banger-1000"
    );
    assert_eq!(config_file(&flags, &homeless), None);
}

#[test]
fn the_guest_program_is_looked_for_around_the_executable() {
    let find = |existing: &str| {
        let exists = |path: &Utf8Path| path == existing;
        find_guest_program(Utf8Path::new("/opt/bin/banger"), &exists)
    };
    for place in [
        "/opt/bin/banger-guest",
        "/opt/bin/../lib/banger/banger-guest",
        "/opt/bin/lib/banger/banger-guest",
    ] {
        assert_eq!(find(place), GuestProgram::Found(place.into()));
    }
    let all = find_guest_program(Utf8Path::new("/opt/bin/banger"), &|_| true);
    assert_eq!(all.path(), "/opt/bin/../lib/banger/banger-guest");
    let missing = find("/elsewhere/banger-guest");
    assert!(matches!(&missing, GuestProgram::Missing { places } if places.len() == 3));
    assert_eq!(missing.path(), "/opt/bin/../lib/banger/banger-guest");
}

#[test]
fn qemu_and_firecracker_are_the_first_on_the_path() {
    let program = qemu_program();
    let existing = [
        format!("/b/{program}"),
        format!("/c/{program}"),
        format!("./{program}"),
        "/c/firecracker".to_owned(),
    ];
    let environment = Environment {
        path: [".", "/a", "/b", "/c"].map(Utf8PathBuf::from).to_vec(),
        ..environment()
    };
    let exists = |path: &Utf8Path| existing.iter().any(|file| path == file);
    let settings = resolve(
        &GlobalArgs::default(),
        &environment,
        &Config::default(),
        &exists,
    );
    let settings = settings.unwrap();
    assert_eq!(settings.qemu, Some(existing[0].as_str().into()));
    assert_eq!(settings.firecracker, Some("/c/firecracker".into()));
}

#[test]
fn the_configuration_file_is_chosen_and_marked() {
    let mut flags = GlobalArgs::default();
    let mut environment = environment();
    let default = ("/home/u/.config/banger/config.toml".into(), false);
    assert_eq!(config_file(&flags, &environment), Some(default));
    environment.config = Some("env.toml".into());
    assert_eq!(
        config_file(&flags, &environment),
        Some(("/here/env.toml".into(), true))
    );
    flags.config = Some("/flag.toml".into());
    assert_eq!(
        config_file(&flags, &environment),
        Some(("/flag.toml".into(), true))
    );
}

#[test]
fn plain_registries_come_from_the_configuration() {
    let config = Config {
        registries: RegistriesConfig {
            plain_http: vec!["localhost:5000".into()],
            ..RegistriesConfig::default()
        },
        ..Config::default()
    };
    let settings = resolved(&GlobalArgs::default(), &environment(), &config);
    assert_eq!(settings.registries.plain_http, ["localhost:5000"]);
}
