//! Images as archives, and back.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use super::environment::Environment;

fn shown(environment: &Environment, image: &str) -> serde_json::Value {
    let text = environment.must(&["--json", "image", "show", image]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_saved_image_comes_back_with_its_tree_and_configuration() {
    let environment = Environment::with_kernel();
    let reference = environment.layout("debian", "bookworm");
    environment.must(&["image", "pull", &reference, "--name", "debian"]);
    let before = shown(&environment, "debian");
    for format in ["oci-archive", "docker-archive"] {
        let archive = environment.root.join(format);
        let line = [
            "image",
            "save",
            "debian",
            "--format",
            format,
            "-o",
            archive.as_str(),
        ];
        assert_eq!(environment.must(&line), format!("{archive}\n"));
        environment.refused(&line, 4);
        let reference = format!("{format}:{archive}");
        #[expect(clippy::disallowed_methods, reason = "a tool that reads archives")]
        let config = Command::new("skopeo")
            .args(["inspect", "--config", &reference])
            .output()
            .unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config.stdout).unwrap();
        let run = &before["run_config"];
        assert_eq!(config["config"]["Cmd"], run["cmd"], "{config}");
        assert_eq!(config["config"]["Env"], run["env"]);
        environment.must(&["image", "pull", &reference, "--name", format]);
        let after = shown(&environment, format);
        assert_eq!(&after["run_config"], run);
        assert_eq!(environment.must(&["image", "diff", "debian", format]), "");
    }
}

#[test]
fn standard_output_gets_the_same_bytes_as_a_file() {
    let environment = Environment::with_image();
    let [file, piped] = ["file", "piped"].map(|name| environment.root.join(name));
    environment.must(&["image", "save", "small", "-o", file.as_str()]);
    let output = environment.run(&["image", "export", "small"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, fs::read(&file).unwrap());
    let mut command = environment.command(&["image", "save", "small"]);
    command.stdout(Stdio::from(File::create(&piped).unwrap()));
    assert!(command.status().unwrap().success());
    assert_eq!(fs::read(piped).unwrap(), output.stdout);
}
