//! What `image build` puts into a guest. Pure, but for the one small file that
//! [`write_packages_metadata`] writes.
//!
//! Invariants: a script is the same text for the same parts, and holds nothing
//! of a user's; the packages' hash covers the base packages and nothing else.
//! Entry points: [`build_provision_script`], [`build_modules_command`],
//! [`debian_base_packages`], [`write_packages_metadata`].

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    domain::Digest,
    host_fs::{PathError, write_atomically},
};

/// The version of mise (its release's tag) that a build installs.
pub const MISE_VERSION: &str = "v2026.9.15";
/// Where mise is installed in the guest.
pub const MISE_PATH: &str = "/usr/local/bin/mise";
/// The version of the tmux plugin manager (its release's tag).
pub const TMUX_PLUGIN_MANAGER_VERSION: &str = "v3.1.0";
/// The version of tmux-resurrect (its release's tag).
pub const TMUX_RESURRECT_VERSION: &str = "v4.0.0";
/// The version of tmux-continuum (its release's tag).
pub const TMUX_CONTINUUM_VERSION: &str = "v3.1.0";
/// The version of opencode that a build installs, through mise.
pub const OPENCODE_VERSION: &str = "1.18.33";

/// Debian's names of the packages that every built image has.
const BASE_PACKAGES: [&str; 10] = [
    "make",
    "git",
    "less",
    "tree",
    "ca-certificates",
    "curl",
    "wget",
    "iproute2",
    "vim",
    "tmux",
];

/// tmux plugins: repository and tag.
const TMUX_PLUGINS: [(&str, &str); 3] = [
    ("tpm", TMUX_PLUGIN_MANAGER_VERSION),
    ("tmux-resurrect", TMUX_RESURRECT_VERSION),
    ("tmux-continuum", TMUX_CONTINUUM_VERSION),
];

/// How every script begins: it ends at the first failure, says what it does,
/// and asks nothing.
const PRELUDE: &str = r#"set -eu
export DEBIAN_FRONTEND=noninteractive HOME=/root
say() { printf '== %s\n' "$1"; }
need() {
    command -v "$1" >/dev/null 2>&1 && return
    printf '%s needs %s, which this image lacks\n' "$2" "$1" >&2
    exit 69
}
"#;

/// tmux's configuration, unless the image has one.
const TMUX_CONFIGURATION: &str = r"if [ ! -e /root/.tmux.conf ]; then
    cat >/root/.tmux.conf <<'END'
set -g @plugin 'tmux-plugins/tpm'
set -g @plugin 'tmux-plugins/tmux-resurrect'
set -g @plugin 'tmux-plugins/tmux-continuum'
set -g @continuum-restore 'on'
run '~/.tmux/plugins/tpm/tpm'
END
fi
";

/// What of banger's own a build installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each part is chosen by itself"
)]
pub struct ProvisionParts {
    /// Debian's base packages, by apt.
    pub base_packages: bool,
    /// mise, the tool manager.
    pub mise: bool,
    /// tmux's plugins and their configuration.
    pub tmux_plugins: bool,
    /// opencode, which mise installs.
    pub opencode: bool,
    /// The modules of the kernel that the image boots with.
    pub modules: bool,
}

impl ProvisionParts {
    /// Everything.
    pub const ALL: Self = Self {
        base_packages: true,
        mise: true,
        tmux_plugins: true,
        opencode: true,
        modules: true,
    };
    /// Nothing.
    pub const NONE: Self = Self {
        base_packages: false,
        mise: false,
        tmux_plugins: false,
        opencode: false,
        modules: false,
    };
}

impl Default for ProvisionParts {
    fn default() -> Self {
        Self::ALL
    }
}

/// Debian's names of the packages that every built image has, in the order
/// they are installed; a copy.
#[must_use]
pub fn debian_base_packages() -> Vec<&'static str> {
    BASE_PACKAGES.to_vec()
}

/// The lines that are hashed to tell whether a built image's packages are
/// today's: the base packages and nothing else.
#[must_use]
pub fn build_metadata_packages() -> Vec<&'static str> {
    debian_base_packages()
}

/// sha256 (hex) of today's lines, each with its line feed.
#[must_use]
pub fn packages_hash() -> String {
    let lines = build_metadata_packages().join("\n");
    Digest::of(format!("{lines}\n").as_bytes()).to_hex()
}

/// Where the packages' hash lies: beside the root disk.
#[must_use]
pub fn packages_metadata_path(rootfs: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{rootfs}.packages.sha256"))
}

/// Writes today's packages' hash beside a root disk, whole or not at all, and
/// answers it.
pub fn write_packages_metadata(rootfs: &Utf8Path) -> Result<String, PathError> {
    let hash = packages_hash();
    let line = format!("{hash}\n");
    write_atomically(&packages_metadata_path(rootfs), line.as_bytes())?;
    Ok(hash)
}

/// The script, for `sh`, that installs banger's own parts but the modules; none
/// when there is nothing to install. It runs as root and wants the network.
#[must_use]
pub fn build_provision_script(parts: ProvisionParts) -> Option<String> {
    let chosen = [
        (parts.base_packages, base_packages_section as fn() -> String),
        (parts.mise, mise_section),
        (parts.tmux_plugins, tmux_section),
        (parts.opencode, opencode_section),
    ];
    let sections: String = chosen
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, section)| section())
        .collect();
    (!sections.is_empty()).then(|| format!("{PRELUDE}{sections}"))
}

fn base_packages_section() -> String {
    let packages = debian_base_packages().join(" ");
    format!(
        "say 'installing the base packages'\n\
         need apt-get 'installing the base packages'\n\
         apt-get -o APT::Update::Error-Mode=any update\n\
         apt-get install --yes --no-install-recommends {packages}\n\
         apt-get clean\n\
         rm -rf /var/lib/apt/lists/*\n"
    )
}

fn mise_section() -> String {
    format!(
        "say 'installing mise {MISE_VERSION}'\n\
         need curl 'installing mise'\n\
         installer=$(mktemp)\n\
         curl --fail --location --silent --show-error --output \"$installer\" https://mise.run\n\
         MISE_VERSION={MISE_VERSION} MISE_INSTALL_PATH={MISE_PATH} MISE_INSTALL_HELP=0 sh \"$installer\"\n\
         rm -f \"$installer\"\n\
         mkdir -p /etc/profile.d\n\
         printf '%s\\n' 'export PATH=\"$HOME/.local/share/mise/shims:$PATH\"' >/etc/profile.d/mise.sh\n"
    )
}

fn tmux_section() -> String {
    let clones = TMUX_PLUGINS.map(|(plugin, version)| {
        format!(
            "rm -rf /root/.tmux/plugins/{plugin}\n\
             git clone --quiet --depth 1 --branch {version} \
             https://github.com/tmux-plugins/{plugin} /root/.tmux/plugins/{plugin}\n"
        )
    });
    format!(
        "say 'installing plugins of tmux'\n\
         need git 'installing plugins of tmux'\n\
         mkdir -p /root/.tmux/plugins\n{}{TMUX_CONFIGURATION}",
        clones.concat()
    )
}

fn opencode_section() -> String {
    format!(
        "say 'installing opencode {OPENCODE_VERSION}'\n\
         need {MISE_PATH} 'installing opencode'\n\
         {MISE_PATH} use --global --yes opencode@{OPENCODE_VERSION}\n"
    )
}

/// The command, for `sh -c`, that unpacks the tar stream on its standard input
/// as the modules of a kernel release. The release is a directory's name; one
/// that cannot be a release's has no command.
#[must_use]
pub fn build_modules_command(release: &str) -> Option<String> {
    crate::kernel::is_release(release).then(|| {
        format!(
            "set -eu; mkdir -p /lib/modules/{release}; tar -xpf - -C /lib/modules/{release}; \
             if command -v depmod >/dev/null 2>&1; then depmod -a {release}; fi"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, ExitStatus, Stdio},
    };

    use proptest::prelude::*;

    use super::*;

    /// Whether `sh` finds a script well formed.
    fn check_syntax(script: &str) -> ExitStatus {
        #[expect(clippy::disallowed_methods, reason = "the shell is the truth here")]
        let mut shell = Command::new("sh");
        let shell = shell.args(["-n", "-c", script]).stdin(Stdio::null());
        shell.status().unwrap()
    }

    #[test]
    fn the_base_packages_are_these_in_this_order() {
        let expected = "make git less tree ca-certificates curl wget iproute2 vim tmux";
        assert_eq!(debian_base_packages().join(" "), expected);
        assert_eq!(build_metadata_packages(), debian_base_packages());
        let mut copy = debian_base_packages();
        copy.push("more");
        assert_ne!(copy, debian_base_packages());
    }

    #[test]
    fn the_hash_lies_beside_the_disk_and_is_that_of_the_lines() {
        let scratch = tempfile::tempdir().unwrap();
        let rootfs = Utf8Path::from_path(scratch.path()).unwrap().join("r.ext4");
        let hash = write_packages_metadata(&rootfs).unwrap();
        let written = fs::read_to_string(scratch.path().join("r.ext4.packages.sha256")).unwrap();
        assert_eq!(written, format!("{hash}\n"));
        let lines = "make\ngit\nless\ntree\nca-certificates\ncurl\nwget\niproute2\nvim\ntmux\n";
        assert_eq!(hash, Digest::of(lines.as_bytes()).to_hex());
        assert_eq!(hash, packages_hash());
    }

    #[test]
    fn nothing_to_install_is_no_script() {
        let modules = ProvisionParts {
            modules: true,
            ..ProvisionParts::NONE
        };
        assert_eq!(build_provision_script(ProvisionParts::NONE), None);
        assert_eq!(build_provision_script(modules), None);
    }

    #[test]
    fn sections_come_in_the_order_of_their_needs() {
        let script = build_provision_script(ProvisionParts::ALL).unwrap();
        let said: Vec<&str> = script
            .lines()
            .filter_map(|line| line.strip_prefix("say '"))
            .map(|line| line.split(' ').nth(1).unwrap())
            .collect();
        assert_eq!(said, ["the", "mise", "plugins", "opencode"]);
        for version in [
            MISE_VERSION,
            TMUX_PLUGIN_MANAGER_VERSION,
            TMUX_RESURRECT_VERSION,
            TMUX_CONTINUUM_VERSION,
            OPENCODE_VERSION,
        ] {
            assert!(script.contains(version), "{version}");
        }
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let script = build_provision_script(ProvisionParts {
            opencode: true,
            ..ProvisionParts::NONE
        });
        #[expect(clippy::disallowed_methods, reason = "the shell is the truth here")]
        let mut shell = Command::new("/bin/sh");
        let shell = shell.args(["-c", &script.unwrap()]).env_clear();
        let output = shell.env("PATH", "/nowhere").output().unwrap();
        assert_eq!(output.status.code(), Some(69));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(MISE_PATH) && said.contains("opencode"),
            "{said}"
        );
    }

    #[test]
    fn modules_go_where_their_release_says_and_nothing_else_is_a_release() {
        let command = build_modules_command("6.1.0-42-cloud-amd64").unwrap();
        assert!(
            command.contains("-C /lib/modules/6.1.0-42-cloud-amd64;"),
            "{command}"
        );
        assert!(check_syntax(&command).success());
        for release in ["", "..", "6.1;reboot", "6.1 x", "$(x)", "6.1/../.."] {
            assert_eq!(build_modules_command(release), None, "{release}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_choice_of_parts_is_a_script_of_just_those(bits in any::<[bool; 5]>()) {
            let [base_packages, mise, tmux_plugins, opencode, modules] = bits;
            let parts = ProvisionParts { base_packages, mise, tmux_plugins, opencode, modules };
            let script = build_provision_script(parts).unwrap_or_default();
            prop_assert_eq!(script.contains("apt-get install"), base_packages);
            prop_assert_eq!(script.contains("https://mise.run"), mise);
            prop_assert_eq!(script.contains("git clone"), tmux_plugins);
            prop_assert_eq!(script.contains("opencode@"), opencode);
            prop_assert!(check_syntax(&script).success());
            prop_assert_eq!(build_provision_script(parts).unwrap_or_default(), script);
        }

        #[test]
        fn a_modules_command_holds_no_word_of_a_shell(release in "\\PC{0,70}") {
            if let Some(command) = build_modules_command(&release) {
                prop_assert!(!release.contains(['\'', '"', '$', '`', ';', ' ', '/', '&', '|']));
                prop_assert!(check_syntax(&command).success());
            }
        }
    }
}
