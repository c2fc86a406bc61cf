use crate::support::{Home, snapshot};

#[test]
fn the_command_explains_itself() {
    snapshot!("help", Home::new().run(&["--help"]));
    snapshot!("no_arguments", Home::new().run(&[]));
}

#[test]
fn every_verb_explains_itself_with_examples() {
    for verb in [
        "demo",
        "login",
        "add",
        "list",
        "show",
        "find",
        "token",
        "api",
        "refresh",
        "keep",
        "recover",
        "revoke",
        "delete",
        "import",
        "export",
        "migrate",
        "doctor",
        "emulator",
        "completions",
    ] {
        let help = Home::new().run(&[verb, "--help"]).ok();
        assert!(help.stdout.contains("Examples:\n"), "{verb} has no examples");
        snapshot!(format!("help_{verb}"), help);
    }
}

#[test]
fn verbs_of_later_versions_are_not_there() {
    for verb in ["purge", "keys", "serve"] {
        Home::new().run(&[verb]).fails(2).says("unrecognized subcommand");
    }
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Home::new().run(&["completions", shell]).ok();
        assert!(script.stdout.contains("emulator"), "{shell}");
        assert!(script.stderr.is_empty(), "{shell}");
    }
    Home::new().run(&["completions", "tcsh"]).fails(2);
}

#[test]
fn help_does_not_show_what_the_environment_holds() {
    let home = Home::with_store("sqlite:test-path-of-the-store");
    assert!(!home.run(&["list", "--help"]).ok().stdout.contains("test-path"));
}

#[test]
fn a_shell_completes_the_data_centers() {
    let script = Home::new().run(&["completions", "bash"]).ok();
    assert!(script.stdout.contains("us eu in au cn jp ca sa uk ae"), "{}", script.stdout);
}
